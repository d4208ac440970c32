"""The console: what happens to events, in a browser, for people.

```python
app.mount("/events", console([events], auth=who_may))
```
"""

from __future__ import annotations

from fastapi_events.errors import MissingDependencyError

try:
    from fastapi_events.console.application import console
    from fastapi_events.console.permissions import Visitor
except ModuleNotFoundError as _missing:
    if (_missing.name or "").partition(".")[0] not in ("starlette", "jinja2", "markupsafe"):
        raise
    raise MissingDependencyError(str(_missing.name), "console") from _missing

__all__ = ["Visitor", "console"]
