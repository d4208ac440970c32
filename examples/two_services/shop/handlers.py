"""What the shop's workers run."""

import logging

from fastapi_events.typing import Event

from .events import broker, events

__all__ = ["broker"]

logger = logging.getLogger(__name__)


@events.register(event_name="order-placed")
def send_receipt(event: Event) -> None:
    logger.warning("A receipt for order %s", event.payload["number"])


@events.register(event_name="order-cooked")
def serve(event: Event) -> None:
    """It was the kitchen that dispatched this."""
    logger.warning("Order %s is served", event.payload["number"])
