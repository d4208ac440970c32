"""What one function did for a test's worker: how often it ran, when again, and to what end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from fastapi_events.checks import counted
from fastapi_events.event import Event
from fastapi_events.testing.log import Entry

Function: TypeAlias = Callable[..., Any] | str
"""A function, or the name of its subscription."""


class FunctionResults:
    """What one function did.

    Parameters:
        entries: What happened to it, in order.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    @property
    def events(self) -> list[Event]:
        """The events that it ran for, once each time that it came to be run; not again for a retry."""
        again: Counter[str] = Counter()
        found = []
        for each in self._entries:
            if each.event is None:
                continue
            if each.hook == "retried":
                again[each.event.id] += 1
            elif each.hook == "started" and again[each.event.id]:
                again[each.event.id] -= 1
            elif each.hook == "started":
                found.append(each.event)
        return found

    @property
    def times(self) -> int:
        """How often it ran, retries not counted."""
        return len(self.events)

    @property
    def attempts(self) -> int:
        """How often it was called, retries counted."""
        return len(self._of("started"))

    @property
    def waits(self) -> list[float]:
        """Seconds before each of its retries, in order."""
        return [each.wait for each in self._of("retried")]

    @property
    def errors(self) -> list[BaseException]:
        """What it raised, in order."""
        return [each.error for each in self._of("failed") if each.error is not None]

    @property
    def succeeded(self) -> list[Event]:
        """The events for which it returned."""
        return [each.event for each in self._of("succeeded") if each.event is not None]

    @property
    def skipped(self) -> list[Event]:
        """The events that it had completed before, with `once=True`."""
        return [each.event for each in self._of("skipped") if each.event is not None]

    @property
    def dead(self) -> list[str]:
        """Why its messages were given up, in order."""
        return [each.reason for each in self._of("dead")]

    def __repr__(self) -> str:
        said = [f"ran {times(self.times)}", counted(self.attempts, "attempt")]
        counts = {word: len(self._of(word)) for word in ("succeeded", "skipped", "dead")}
        said += [f"{count} {word}" for word, count in counts.items() if count]
        return f"<FunctionResults: {', '.join(said)}>"

    def _of(self, hook: str) -> list[Entry]:
        return [each for each in self._entries if each.hook == hook]


def shown(function: Function) -> str:
    """How a function is called in an error."""
    return function if isinstance(function, str) else getattr(function, "__qualname__", repr(function))


def times(count: int) -> str:
    """A number of times in words: `once`, `3 times`."""
    return "once" if count == 1 else f"{count} times"
