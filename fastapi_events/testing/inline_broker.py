"""Where messages wait in this process, by a clock that a test sets ahead."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from fastapi_events import clock
from fastapi_events.event import wire_name
from fastapi_events.handlers.task_queue import Message
from fastapi_events.handlers.task_queue.messages import events_in
from fastapi_events.storage.catalogue import Pause
from fastapi_events.testing.faults import Faults

PauseOf: TypeAlias = Callable[[str], Pause | None]


class Receiver(Protocol):
    """The engine whose messages they are."""

    @property
    def handler(self) -> Any:
        """The handler in whose place the one stands that has it."""

    @property
    def pause_of(self) -> PauseOf:
        """Finds out how somebody has paused a subscription."""

    def batch_size(self, task: str) -> int:
        """How many events a subscription takes at once."""


@dataclass(eq=False)
class Waiting:
    """A message that waits for its time.

    Parameters:
        engine: Whose it is.
        message: What was sent.
        due: When it may be received, by the clock.
        asked_for: Whether an event was dispatched with a delay, so that a test has to set the clock ahead.
        events: How many it carries, where it is one of those that are taken together.
        held: Whether it was not its turn, so that it waits on while its function is paused.
    """

    engine: Receiver
    message: Message
    due: float
    asked_for: bool = False
    events: int = 0
    held: bool = False

    @property
    def name(self) -> str:
        """The name of its event; who is to get it, where it holds none."""
        event = next(iter(events_in([self.message.argument])), None)
        return self.message.task if event is None else wire_name(event.name)

    @property
    def pause(self) -> Pause | None:
        """Why it waits on, whatever the time; None where nobody has paused its function."""
        return self.engine.pause_of(self.message.task) if self.held else None

    @property
    def may_be_received(self) -> float:
        """When it may be received, by the clock."""
        pause = self.pause
        if pause is None:
            return self.due
        return math.inf if pause.until is None else pause.until


class InlineBroker:
    """The messages of all handlers of a worker.

    Parameters:
        faults: What happens to them.
    """

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._lock = threading.RLock()
        self._waiting: list[Waiting] = []

    def put(self, waiting: Waiting) -> None:
        """Let a message wait."""
        with self._lock:
            self._waiting.append(waiting)
            if waiting.events:
                self._hurry(waiting)

    def _hurry(self, last: Waiting) -> None:
        """A batch that is full waits no longer; what comes after it begins another."""
        size, full = last.engine.batch_size(last.message.task), list[Waiting]()
        for each in self._together(last):
            full.append(each)
            if sum(one.events for one in full) >= size:
                for one in full:
                    one.due = min(one.due, clock.timestamp())
                full = []

    def take(self) -> Waiting | None:
        """A message that is due; with those that are taken together with it, as one."""
        with self._lock:
            now = clock.timestamp()
            ready = [each for each in self._waiting if each.due <= now and each.may_be_received <= now]
            ready.sort(key=lambda each: each.due)
            if not ready:
                return None
            found = self.faults.orders[-1].choice(ready) if self.faults.orders else ready[0]
            self._waiting.remove(found)
            return self._gathered(found) if found.events else found

    def _gathered(self, first: Waiting) -> Waiting:
        left = first.engine.batch_size(first.message.task) - first.events
        taken = [first]
        for each in self._together(first):
            if each.events <= left:
                left -= each.events
                taken.append(each)
                self._waiting.remove(each)
        inside = ",".join(each.message.argument.strip()[1:-1] for each in taken)
        return replace(first, message=replace(first.message, argument=f"[{inside}]"))

    def _together(self, with_: Waiting) -> list[Waiting]:
        return [
            each
            for each in self._waiting
            if each.events and each.engine is with_.engine and each.message.task == with_.message.task
        ]

    def next_due(self, *, asked_for: bool) -> float | None:
        """When the next message is due, without or with those that a test has to set the clock ahead for."""
        with self._lock:
            found = [
                each.may_be_received
                for each in self._waiting
                if asked_for or not (each.asked_for or each.pause is not None)
            ]
            return min((each for each in found if each < math.inf), default=None)

    def delayed(self) -> list[Waiting]:
        """What was to be delayed, the next one first."""
        with self._lock:
            return sorted((each for each in self._waiting if each.asked_for), key=lambda each: each.due)

    def paused(self) -> dict[str, Pause]:
        """The functions for which something waits since somebody has paused them."""
        with self._lock:
            return {each.message.task: pause for each in self._waiting if (pause := each.pause) is not None}
