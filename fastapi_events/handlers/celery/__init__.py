"""Handle events in Celery workers.

```python
celery_app = Celery("shop", broker="redis://localhost:6379/0")
events = CeleryHandler(celery_app)
```
"""

from fastapi_events.errors import MissingDependencyError

try:
    import celery as celery
except ImportError as _missing:
    raise MissingDependencyError("celery", "celery") from _missing

from fastapi_events.handlers.celery.dead_queues import DEAD
from fastapi_events.handlers.celery.depth import dead_queue
from fastapi_events.handlers.celery.handler import CeleryHandler
from fastapi_events.handlers.celery.passed_on import UNKNOWN
from fastapi_events.handlers.celery.scope_signals import open_scopes

__all__ = ["DEAD", "UNKNOWN", "CeleryHandler", "dead_queue", "open_scopes"]
