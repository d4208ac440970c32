"""What the workers run."""

import logging

from fastapi_events.retry import RetryPolicy
from fastapi_events.typing import Event

from . import actors
from .events import broker, events

__all__ = ["actors", "broker"]  # `dramatiq app.handlers` looks for the broker here

logger = logging.getLogger(__name__)


@events.register(event_name="order-placed", retry=RetryPolicy(max_retries=3, give_up_on=(LookupError,)))
def cook(event: Event) -> None:
    """Tried four times; an order that does not exist is given up at once."""
    number = event.payload["number"]
    if number == 13:
        raise LookupError("there is no order 13")
    logger.warning("Order %s is cooked", number)


@events.register(event_name="order-placed", once=True)
def bill(event: Event) -> None:
    """Whoever may not pay twice says so: a message may be delivered twice."""
    logger.warning("Order %s is billed", event.payload["number"])


@events.register(event_name="order-*", queue="reports", time_limit=60_000)
async def report(event: Event) -> None:
    """A queue of its own: slow work does not hold up the rest. What takes a minute has failed."""
