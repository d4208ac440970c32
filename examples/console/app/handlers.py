"""What the workers run."""

from fastapi_events.retry import RetryPolicy
from fastapi_events.typing import Event

from .events import events


@events.register(event_name="order-placed", retry=RetryPolicy(max_retries=2))
def cook(event: Event) -> None:
    if event.payload["number"] == 13:
        raise LookupError("there is no order 13")
