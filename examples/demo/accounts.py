"""What another kind of workers runs, on a queue of its own."""

from __future__ import annotations

from examples.demo.journal import write_down_what_happens
from fastapi_events.event import Event
from workers.events import events, settings

write_down_what_happens()


@events.register(event_name="cat-requested-*", queue=f"{settings.queue}-accounts")
def charge(event: Event) -> None:
    """Somebody has to pay for the fish."""
