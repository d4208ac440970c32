"""Do nothing with events, where a handler is expected."""

import math
from collections.abc import Iterable

from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler


class NullHandler(BaseEventHandler):
    """Takes events and forgets them."""

    never_waits = True

    @property
    def longest_delay(self) -> float:
        """Unlimited: an event is discarded at once, whatever its delay."""
        return math.inf

    async def handle_many(self, events: Iterable[Event]) -> None:
        pass

    async def handle(self, event: Event) -> None:
        pass
