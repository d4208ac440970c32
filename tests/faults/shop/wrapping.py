"""What other workers run: a function that those of `handlers` do not have."""

from __future__ import annotations

from fastapi_events.event import Event
from tests.faults.shop.events import events
from tests.faults.shop.notes import note

app = getattr(events, "app", None)  # for `celery -A`


@events.register(event_name="order-*", name="wrap")
def wrap(event: Event) -> None:
    """Wraps what the other workers ship."""
    note("handled", subscription="wrap", number=event.payload["number"], id=event.id)
