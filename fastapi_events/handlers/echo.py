"""Print events: for a first try, and for debugging."""

import math
from pprint import pprint

from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler


class EchoHandler(BaseEventHandler):
    """Prints each event to standard output."""

    @property
    def longest_delay(self) -> float:
        """Unlimited: an event is printed at once, whatever its delay."""
        return math.inf

    async def handle(self, event: Event) -> None:
        pprint(tuple(event))  # noqa: T203 - printing is what it is for
