"""What workers run under chaos: beside the usual functions one that runs once, and one in order."""

from __future__ import annotations

from fastapi_events.event import Event
from tests.faults.shop.events import events
from tests.faults.shop.handlers import app as app
from tests.faults.shop.notes import note


@events.register(event_name="order-*", name="count", once=True)
def count(event: Event) -> None:
    """Write it down, once for each event."""
    note("handled", subscription="count", number=event.payload["number"], id=event.id)


@events.register(event_name="step-taken", name="step")
def step(event: Event) -> None:
    """Write it down, in the order of its key."""
    number, key = event.payload["number"], event.ordering_key
    note("handled", subscription="step", number=number, id=event.id, key=key)
