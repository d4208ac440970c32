"""What the workers run."""

from fastapi_events.typing import Event

from .events import events

cooked: list[int] = []


@events.register(event_name="order-placed")
async def cook(event: Event) -> None:
    cooked.append(event.payload["number"])
