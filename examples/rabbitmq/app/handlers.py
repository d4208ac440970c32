"""What the workers run."""

import logging

from fastapi_events.retry import RetryPolicy
from fastapi_events.typing import Event

from .events import broker, events

__all__ = ["broker"]  # `dramatiq app.handlers` looks for the broker here

logger = logging.getLogger(__name__)


@events.register(event_name="order-placed", retry=RetryPolicy(max_retries=5, max_backoff=600))
async def cook(event: Event) -> None:
    """A wait for a retry is held by the worker, so it is shorter than the server's consumer_timeout."""
    logger.warning("Order %s is cooked", event.payload["number"])


@events.register(event_name="order-forgotten")
def remind(event: Event) -> None:
    logger.warning("Order %s is forgotten", event.payload["number"])
