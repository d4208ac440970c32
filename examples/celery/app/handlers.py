"""What the workers run."""

import logging

from fastapi_events.retry import RetryPolicy
from fastapi_events.typing import Event

from . import tasks
from .events import celery_app, events

__all__ = ["celery_app", "tasks"]  # `celery -A app.handlers` looks for the app here

logger = logging.getLogger(__name__)


@events.register(event_name="order-placed", retry=RetryPolicy(max_retries=3), rate_limit="10/s")
async def cook(event: Event) -> None:
    """Async functions run in every pool."""
    logger.warning("Order %s is cooked", event.payload["number"])


@events.register(event_name="order-placed", once=True, time_limit=60)
def bill(event: Event) -> None:
    """Whoever may not pay twice says so: a message may be delivered twice."""
    logger.warning("Order %s is billed", event.payload["number"])


@events.register(event_name="shop-closed")
def count_the_till(event: Event) -> None:
    logger.warning("The till is counted")
