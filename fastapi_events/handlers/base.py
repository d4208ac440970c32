"""The base class of handlers, and the hooks that each may have."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from fastapi_events import clock
from fastapi_events.delivery import name_of, outcome
from fastapi_events.errors import ConfigurationError, DelayTooLong, raise_together
from fastapi_events.event import Event, EventName, wire_name
from fastapi_events.subscriptions.signature import signature_of


class _ClassName:
    """The name of an instance's class, until the instance is given a name of its own.

    The class itself has no such attribute, so that a dataclass may have a field `name` without a default.
    """

    def __get__(self, instance: object | None, owner: type) -> str:
        if instance is None:
            raise AttributeError("name")
        return owner.__name__


class BaseEventHandler(ABC):
    """A place events go. Subclass it and write `handle`; override `handle_many` to take a flush at once.

    An error that is raised is logged and told to the lifecycle hooks; it harms no other handler. The hooks
    are `on_startup`, `on_dispatch` and `on_shutdown`.
    """

    never_waits: bool = False
    """Whether `handle_many` never gives way to the event loop: then a flush needs no task for it."""

    name: str = _ClassName()  # type: ignore[assignment]  # reads as a string, and may be assigned one
    """How logs and traces call this handler; its class's name if it has no other."""

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
        seconds = (due - clock.now()).total_seconds()
        if seconds > self.longest_delay:
            raise DelayTooLong(wire_name(event.name), self.name, seconds, self.longest_delay)

    def listens(self, name: EventName) -> bool:
        """Whether a function of its own listens to an event of this name."""
        return False

    def listens_to(self) -> Iterable[str]:
        """The patterns that its functions listen to, as far as this process knows."""
        return ()

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
        calls = [outcome(self, self.handle, event, events=[event]) for event in events]
        handled = await asyncio.gather(*calls)
        errors = [error for error in handled if error is not None]
        try:
            raise_together(errors, f"errors in {name_of(self)}")
        finally:
            del handled, errors  # an error would hold this frame, and these the error

    @abstractmethod
    async def handle(self, event: Event) -> None:
        """Handle one event, the pair `(name, payload)`."""


def check_hooks(handler: BaseEventHandler) -> None:
    """Check that what a handler has by the names of hooks can be called as hooks are.

    Raises:
        ConfigurationError: When something of its own has such a name; it needs another.
    """
    for hook in ("on_startup", "on_shutdown"):
        if (own := _own(handler, hook)) and not inspect.iscoroutinefunction(own[0]):
            raise ConfigurationError(
                f"{_spelled(handler, hook)} is no `async def {hook}(self)`, which the middleware would call: "
                "give it another name, or make it the hook."
            )
    own = _own(handler, "on_dispatch")
    if own and (inspect.iscoroutinefunction(own[0]) or not _takes_one(handler.on_dispatch)):
        raise ConfigurationError(
            f"{_spelled(handler, 'on_dispatch')} is no `def on_dispatch(self, event)`, which dispatch() "
            "would call: give it another name, or make it the hook."
        )


def _own(handler: BaseEventHandler, hook: str) -> list[Any]:
    """What a handler or its class has by the name of a hook, unless it is our own; a mock has neither."""
    found = [vars(each)[hook] for each in (handler, *type(handler).__mro__) if hook in vars(each)]
    return found[:1] if found[:1] != [vars(BaseEventHandler)[hook]] else []


def _takes_one(function: Any) -> bool:
    try:
        signature_of(function).bind(None)
    except TypeError:
        return False
    return True


def _spelled(handler: BaseEventHandler, hook: str) -> str:
    return f"{type(handler).__qualname__}.{hook}"
