"""What every handler is."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable

from fastapi_events.errors import raise_together
from fastapi_events.event import Event
from fastapi_events.subscriptions.runner import run_through
from fastapi_events.subscriptions.signature import never_waits


class BaseEventHandler(ABC):
    """A place events go. Subclass it and write `handle`; override `handle_many` to take a flush at once.

    An error that is raised is logged and told to the lifecycle hooks; it harms no other handler.
    """

    @property
    def name(self) -> str:
        """How logs and traces call this handler."""
        return type(self).__name__

    def prepare(self, event: Event) -> None:
        """Look at an event on the line that dispatches it; raise to refuse it there."""

    async def startup(self) -> None:
        """Called once the application has started, where the server speaks the lifespan protocol."""

    async def shutdown(self) -> None:
        """Called when the application stops: deliver or report what is still held, in bounded time."""

    @property
    def never_waits(self) -> bool:
        """Whether `handle_many` never gives way to the event loop: then a flush needs no task for it.

        Found out by looking whether anything is awaited in it, or in `handle` where it is ours.
        """
        many = getattr(self.handle_many, "__func__", None)
        return never_waits(self.handle if many is BaseEventHandler.handle_many else self.handle_many)

    async def handle_many(self, events: Iterable[Event]) -> None:
        """Handle the events of a flush: they start in order of dispatch, and overlap where they wait."""
        outcomes: Iterable[BaseException | None]
        if never_waits(self.handle):
            outcomes = map(self._handle_now, events)
        else:
            outcomes = await asyncio.gather(*map(self.handle, events), return_exceptions=True)
        raise_together([each for each in outcomes if isinstance(each, Exception)], f"errors in {self.name}")

    def _handle_now(self, event: Event) -> BaseException | None:
        try:
            return run_through(self.handle(event))
        except (Exception, asyncio.CancelledError) as error:
            return error

    @abstractmethod
    async def handle(self, event: Event) -> None:
        """Handle one event, the pair `(name, payload)`."""
