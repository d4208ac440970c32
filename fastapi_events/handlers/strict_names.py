"""Refuses the names of events that nobody knows, where they are dispatched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi_events import checks
from fastapi_events.errors import UnknownEventName
from fastapi_events.event import Event, EventName, wire_name
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.registry.payload_schema import registry


class StrictNames(BaseEventHandler):
    """Stands beside the handlers of a middleware with `strict_names=True`, and does nothing with events.

    Parameters:
        handlers: Those whose functions know names.
    """

    never_waits = True

    def __init__(self, handlers: Sequence[Any]) -> None:
        # Handlers need not derive from our base, and a mock has every attribute.
        self._handlers = [each for each in handlers if isinstance(each, BaseEventHandler)]

    async def on_startup(self) -> None:
        """Let the handlers find out who listens, before anybody waits for it."""
        await asyncio.to_thread(lambda: [each.listens("") for each in self._handlers])

    def on_dispatch(self, event: Event) -> None:
        """Refuse an event whose name nobody knows.

        Raises:
            UnknownEventName: When no handler's functions listen to it, and it has no schema.
        """
        if registry.get(event.name) is None and not self._listens(event.name):
            patterns = [pattern for each in self._handlers for pattern in each.listens_to()]
            raise unknown_name(event.name, "the handlers of this middleware", patterns)

    def _listens(self, name: EventName) -> bool:
        return any(each.listens(name) for each in self._handlers)

    async def handle_many(self, events: Iterable[Event]) -> None:
        """Leave events to the other handlers."""

    async def handle(self, event: Event) -> None:
        """Leave an event to the other handlers."""


def unknown_name(name: EventName, where: str, patterns: Iterable[str]) -> UnknownEventName:
    """The error that refuses a name, with the one that may have been meant.

    Parameters:
        where: Whose functions were asked.
        patterns: What they listen to.
    """
    hint = checks.guess(wire_name(name), patterns)
    return UnknownEventName(
        f"Nobody listens to {wire_name(name)!r} in {where}, and no schema is registered for it"
        f"{'; ' + hint if hint else '.'}"
    )
