"""What every handler is."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from fastapi_events.errors import DelayTooLong, raise_together
from fastapi_events.event import Event, wire_name


class BaseEventHandler(ABC):
    """A place events go. Subclass it and write `handle`; override `handle_many` to take a flush at once.

    An error that is raised is logged and told to the lifecycle hooks; it harms no other handler.
    """

    never_waits: bool = False
    """Whether `handle_many` never gives way to the event loop: then a flush needs no task for it."""

    @property
    def name(self) -> str:
        """How logs and traces call this handler."""
        return type(self).__name__

    persists_before_response: bool = False
    """Whether the middleware calls `persist` before a response goes out."""

    @property
    def longest_delay(self) -> float:
        """Seconds for which it can hold an event back that is not due yet."""
        return 0.0

    def on_dispatch(self, event: Event) -> None:
        """Look at an event on the line that dispatches it; raise to refuse it there.

        Raises:
            DelayTooLong: When the event cannot be held back until it is due.
        """
        if event.due is not None:
            self._check_delay(event, event.due)

    def _check_delay(self, event: Event, due: datetime) -> None:
        seconds = (due - datetime.now(UTC)).total_seconds()
        if seconds > self.longest_delay:
            raise DelayTooLong(wire_name(event.name), self.name, seconds, self.longest_delay)

    async def persist(self, events: Sequence[Event]) -> None:
        """Keep events where they survive this process; after the response they are handed over as ever."""

    async def forget(self, events: Sequence[Event]) -> None:
        """Forget events that were persisted, and are not to be handled after all."""

    async def on_startup(self) -> None:
        """Called once the application has started, where the server speaks the lifespan protocol."""

    async def on_shutdown(self) -> None:
        """Called when the application stops: deliver or report what is still held, in bounded time."""

    async def handle_many(self, events: Iterable[Event]) -> None:
        """Handle the events of a flush: they start in order of dispatch, and overlap where they wait."""
        outcomes = await asyncio.gather(*map(self.handle, events), return_exceptions=True)
        raise_together([each for each in outcomes if isinstance(each, Exception)], f"errors in {self.name}")

    @abstractmethod
    async def handle(self, event: Event) -> None:
        """Handle one event, the pair `(name, payload)`."""
