"""The scope: a stretch of code whose events are collected, and flushed together when it ends.

A request is one (the middleware opens it), a worker's task is one, and so is a block of a script:

```python
with collect_events([events]):
    dispatch("cats-counted", payload={"cats": 9})
```
"""

from fastapi_events.flush import FinishedScope
from fastapi_events.scope.backlog import Backlog
from fastapi_events.scope.collection import collect_events, flush

__all__ = ["Backlog", "FinishedScope", "collect_events", "flush"]
