"""What a subscription dispatches while it runs in a worker."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.task_queue.flushing import Flushing


class Chained:
    """Publishes what a subscription has dispatched; when that fails, nothing is lost: it runs again.

    Parameters:
        handler: Whose subscription it is.
        flushing: Publishes events, or raises.
    """

    def __init__(self, handler: BaseEventHandler, flushing: Flushing) -> None:
        self.name = handler.name
        self.prepare = handler.prepare
        self.flushing = flushing

    async def handle_many(self, events: Iterable[Event]) -> None:
        await self.flushing.flush(list(events))
