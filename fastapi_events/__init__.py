"""Events that a request causes, handled after its response: in process, in workers, or forwarded."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi_events.context import event_store, handler_store, in_req_res_cycle, middleware_identifier
    from fastapi_events.handlers.base import BaseEventHandler

__all__ = [
    "BaseEventHandler",
    "__version__",
    "event_store",
    "handler_store",
    "in_req_res_cycle",
    "middleware_identifier",
]

__version__ = "1.0.0"


def __getattr__(name: str) -> Any:
    """Import what was asked for: pytest loads the plugin in every project, whether it uses events or not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fastapi_events import context
    from fastapi_events.handlers import base

    found = getattr(base if name == "BaseEventHandler" else context, name)
    globals()[name] = found
    return found
