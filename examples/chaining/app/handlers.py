"""One function a step. Each says what has happened; who goes on from there is not its business."""

from fastapi_events.dispatcher import dispatch
from fastapi_events.typing import Event

from .events import events


@events.register(event_name="order-placed", once=True)
def reserve(event: Event) -> None:
    dispatch("stock-reserved", event.payload)


@events.register(event_name="stock-reserved", once=True)
def charge(event: Event) -> None:
    """A declined card is an outcome, and no error: to try again would not help."""
    number = event.payload["number"]
    if event.payload["card"] == "good":
        dispatch("order-paid", {"number": number})
    else:
        dispatch("payment-declined", {"number": number})


@events.register(event_name="order-paid", once=True)
def ship(event: Event) -> None: ...


@events.register(event_name="payment-declined", once=True)
def release(event: Event) -> None:
    """Undo what `reserve` has done."""
