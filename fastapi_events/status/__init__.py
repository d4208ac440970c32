"""How a handler and its whole fleet are: queues, subscriptions, workers, stores.

```python
from fastapi_events.status import StatusReader

found = StatusReader(events).read()
if found.problems:
    ...
```
"""

from __future__ import annotations

from fastapi_events.status.reader import StatusReader
from fastapi_events.status.values import (
    LanesDepth,
    OutboxDepth,
    QueueStatus,
    State,
    Status,
    SubscriptionStatus,
)

__all__ = [
    "LanesDepth",
    "OutboxDepth",
    "QueueStatus",
    "State",
    "Status",
    "StatusReader",
    "SubscriptionStatus",
]
