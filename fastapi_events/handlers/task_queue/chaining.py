"""What a subscription dispatches while it runs in a worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler


class Chained:
    """Publishes what a subscription has dispatched; when that fails, nothing is lost: it runs again.

    Parameters:
        handler: Whose subscription it is.
        publish: Publishes events, or raises.
    """

    def __init__(
        self, handler: BaseEventHandler, publish: Callable[[Sequence[Event]], Awaitable[None]]
    ) -> None:
        self.name = handler.name
        self.prepare = handler.prepare
        self._publish = publish

    async def handle_many(self, events: Iterable[Event]) -> None:
        await self._publish(list(events))
