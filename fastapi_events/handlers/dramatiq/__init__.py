"""Handle events in Dramatiq workers.

```python
broker = SafeRedisBroker(url="redis://localhost:6379/0")
dramatiq.set_broker(broker)
events = DramatiqHandler(broker)
```
"""

from fastapi_events.errors import MissingDependencyError

try:
    import dramatiq as dramatiq
except ImportError as _missing:
    raise MissingDependencyError("dramatiq", "dramatiq") from _missing

from fastapi_events.handlers.dramatiq.handler import DramatiqHandler
from fastapi_events.handlers.dramatiq.middleware import DEAD
from fastapi_events.handlers.dramatiq.scope_middleware import ScopeMiddleware

__all__ = ["DEAD", "DramatiqHandler", "ScopeMiddleware"]
