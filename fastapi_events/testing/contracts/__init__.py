"""Contracts of handlers, engines and stores: suites for those who write one, which pytest runs.

```python
class TestMyInbox(InboxContract):
    @pytest.fixture
    def clock(self):
        return StoppedClock()

    @pytest.fixture
    def store(self, clock):
        return MyStore(clock=clock)
```
"""

from fastapi_events.testing.contracts.catalogue import CatalogueContract
from fastapi_events.testing.contracts.clock import StoppedClock
from fastapi_events.testing.contracts.dead_letters import DeadLettersContract
from fastapi_events.testing.contracts.engines import EngineContract, EnginePlace
from fastapi_events.testing.contracts.handlers import HandlerContract
from fastapi_events.testing.contracts.inbox import InboxContract
from fastapi_events.testing.contracts.journal import JournalContract
from fastapi_events.testing.contracts.lanes import LanesContract
from fastapi_events.testing.contracts.outbox import OutboxContract

__all__ = [
    "CatalogueContract",
    "DeadLettersContract",
    "EngineContract",
    "EnginePlace",
    "HandlerContract",
    "InboxContract",
    "JournalContract",
    "LanesContract",
    "OutboxContract",
    "StoppedClock",
]
