"""What the kitchen's workers run."""

from fastapi_events.dispatcher import dispatch
from fastapi_events.scope import collect_events
from fastapi_events.typing import Event

from .events import broker, events, to_shop

__all__ = ["broker"]


@events.register(event_name="order-placed")
def cook(event: Event) -> None:
    """What a function dispatches goes to its own service; a scope with another handler sends it there."""
    with collect_events([to_shop], raise_errors=True):
        dispatch("order-cooked", event.payload)
