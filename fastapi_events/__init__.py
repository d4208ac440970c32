"""Events that a request causes, handled after its response: in process, in workers, or forwarded."""

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
