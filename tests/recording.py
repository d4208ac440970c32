"""Handlers and observers that remember what they saw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.lifecycle import Lifecycle


class Recorder(BaseEventHandler):
    """Keeps events, flush by flush."""

    def __init__(self) -> None:
        self.flushes: list[list[Event]] = []
        self.single: list[Event] = []

    @property
    def events(self) -> list[Event]:
        return [event for flush in self.flushes for event in flush] + self.single

    @property
    def names(self) -> list[Any]:
        return [event[0] for event in self.events]

    async def handle_many(self, events: Iterable[Event]) -> None:
        self.flushes.append(list(events))

    async def handle(self, event: Event) -> None:
        self.single.append(event)


class Failing(BaseEventHandler):
    """Raises whatever it is given."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def handle(self, event: Event) -> None:
        raise self.error


class Diary(Lifecycle):
    """Writes down every hook as (hook, event name, rest)."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Any, dict[str, Any]]] = []

    def of(self, hook: str) -> list[tuple[Any, dict[str, Any]]]:
        return [(name, rest) for kind, name, rest in self.entries if kind == hook]

    def _write(self, hook: str, event: Any, **rest: Any) -> None:
        self.entries.append((hook, None if event is None else event[0], rest))

    def dispatched(self, event: Event) -> None:
        self._write("dispatched", event)

    def discarded(self, event: Event) -> None:
        self._write("discarded", event)

    def published(self, events: Any, *, handler: str) -> None:
        for event in events:
            self._write("published", event, handler=handler)

    def stored(self, events: Any, *, handler: str, reason: str) -> None:
        for event in events:
            self._write("stored", event, handler=handler, reason=reason)

    def relayed(self, count: int, *, handler: str) -> None:
        self._write("relayed", None, handler=handler, count=count)

    def lost(self, event: Event, *, handler: str, reason: str) -> None:
        self._write("lost", event, handler=handler, reason=reason, id=event.id)

    def unmatched(self, event: Event, *, handler: str) -> None:
        self._write("unmatched", event, handler=handler)

    def skipped(self, event: Event, *, subscription: str) -> None:
        self._write("skipped", event, subscription=subscription)

    def started(self, event: Event, *, subscription: str) -> None:
        self._write("started", event, subscription=subscription)

    def succeeded(self, event: Event, *, subscription: str) -> None:
        self._write("succeeded", event, subscription=subscription)

    def failed(self, events: Any, *, handler: str, subscription: str | None, error: BaseException) -> None:
        for event in events:
            self._write("failed", event, handler=handler, subscription=subscription, error=error)

    def retried(
        self, event: Event, *, subscription: str, error: BaseException, attempt: int, wait: float
    ) -> None:
        self._write("retried", event, subscription=subscription, error=error, attempt=attempt, wait=wait)

    def dead(self, event: Event | None, *, subscription: str, reason: str, attempts: int) -> None:
        self._write("dead", event, subscription=subscription, reason=reason, attempts=attempts)
