"""`pytest --events-strict`: an event that nobody hears, or that no schema describes, fails its test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi_events import checks
from fastapi_events.context import handler_store, middleware_identifier
from fastapi_events.event import Event, wire_name
from fastapi_events.handlers.null import NullHandler
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.handlers.task_queue.worker.chained_events import Chained
from fastapi_events.lifecycle import Lifecycle, forget, observe
from fastapi_events.registry.payload_schema import registry
from fastapi_events.subscriptions.annotations import is_payload_type
from fastapi_events.subscriptions.subscription import Subscription
from fastapi_events.testing.application import Application


class StrictEvents(Lifecycle):
    """Finds the events of a test that nobody listens to, and those whose name no schema has."""

    def __init__(self) -> None:
        self._application = Application()
        self._dispatched: list[tuple[Event, list[Any]]] = []
        self._heard: dict[str, bool] = {}

    def dispatched(self, event: Event) -> None:
        middleware_id = middleware_identifier.get(None)
        handlers = () if middleware_id is None else handler_store.get(middleware_id, ())
        self._dispatched.append((event, list(handlers)))

    def started(self, event: Event, *, subscription: str) -> None:
        self._heard[event.id] = True

    def unmatched(self, event: Event, *, handler: str) -> None:
        self._heard.setdefault(event.id, False)

    def discarded(self, event: Event) -> None:
        self._dispatched = [each for each in self._dispatched if each[0] is not event]

    def faults(self) -> list[str]:
        """What is wrong, a line for each name."""
        found: dict[str, None] = {}
        for event, handlers in self._dispatched:
            name = wire_name(event.name)
            concerned = self._concerned(handlers)
            if not self._is_heard(event, concerned):
                hint = checks.guess(name, _patterns(concerned))
                found[f"Nobody listens to {name!r}{'; ' + hint if hint else '.'}"] = None
            if not _has_schema(event, concerned):
                hint = checks.guess(name, [wire_name(each) for each in registry])
                found[f"No schema is registered for {name!r}{'; ' + hint if hint else '.'}"] = None
        return list(found)

    def _concerned(self, handlers: Sequence[Any]) -> list[Any]:
        """Who gets an event: its scope's handlers; those of the application where it is not to be known."""
        everything = [each for each in self._application.everything() if hasattr(each, "subscriptions")]
        # What a function dispatches goes by `Chained` to its own handler.
        if not handlers or any(isinstance(each, Chained) for each in handlers):
            return everything
        queues = {each.name for each in handlers if isinstance(each, TaskQueueHandler)}
        return [*handlers, *(each for each in everything if each.name in queues)]

    def _is_heard(self, event: Event, handlers: Sequence[Any]) -> bool:
        told = self._heard.get(event.id)
        return any(_hears(each, event) for each in handlers) if told is None else told


@contextmanager
def strict_events() -> Iterator[None]:
    """A block after which it is an error that an event was dispatched which nobody hears or has no schema.

    Raises:
        AssertionError: With the names.
    """
    strict = StrictEvents()
    observe(strict)
    try:
        yield
    finally:
        forget(strict)
    if faults := strict.faults():
        raise AssertionError("\n".join(["--events-strict:", *faults]))


def _hears(handler: Any, event: Event) -> bool:
    """Whether a handler does something with an event."""
    subscriptions = getattr(handler, "subscriptions", None)
    if subscriptions is None:
        return not isinstance(handler, NullHandler)  # others get every event
    return bool(subscriptions.match(event.name))


def _has_schema(event: Event, handlers: Iterable[Any]) -> bool:
    """Whether the registry, its model, or a function that asks for one says what is in an event."""
    if registry.get(event.name) is not None or is_payload_type(type(event.full_payload)):
        return True
    all_of_them = [found for each in handlers if (found := getattr(each, "subscriptions", None)) is not None]
    return any(_asks_for_model(each) for found in all_of_them for each in found.match(event.name))


def _asks_for_model(subscription: Subscription) -> bool:
    asked = subscription.plan if subscription.batch is None else subscription.batch
    return asked.payload_type is not None and is_payload_type(asked.payload_type.annotation)


def _patterns(handlers: Iterable[Any]) -> list[str]:
    return [
        pattern
        for handler in handlers
        for each in getattr(handler, "subscriptions", ())
        for pattern in each.patterns
    ]
