"""The functions that listen."""

import logging

from fastapi_events.handlers.local import LocalHandler
from fastapi_events.typing import Event

logger = logging.getLogger(__name__)
events = LocalHandler()


@events.register(event_name="order-placed")
def send_receipt(event: Event) -> None:
    """Sync functions run in a thread."""
    logger.warning("A receipt for order %s", event.payload["number"])


@events.register(event_name="order-*")
async def count(event: Event) -> None:
    """Async functions run on the event loop; a pattern matches several events."""
    name, payload = event
    logger.warning("%s: %s", name, payload)
