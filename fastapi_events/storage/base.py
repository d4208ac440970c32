"""What all stores share; each of them is a small interface of its own, in the module of its name.

`storage.memory` shows in plain Python what each method means. All methods are synchronous: publisher
threads, relay threads and workers call them, from any thread and in a forked child. They raise `StorageError`
where the driver fails.

Whoever works at something holds a lease on it, under a token that nobody else uses. A lease that has run out
and that nobody else has taken is still that of its token. Where the clock has been set back, a lease that
would begin in the future is void, so that nothing stays held for longer than it was meant to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Literal, TypeAlias

from fastapi_events.per_process import PerProcess

CLOCK_SLACK_SECONDS = 5.0
"""How far a clock may be set back before the leases given until then are void."""


Clock: TypeAlias = Callable[[], float]
"""Seconds since 1970, as `time.time` gives them."""


class Store:
    """What every store has beside its own methods; a store that needs no preparation inherits these."""

    def setup(self) -> None:
        """Create what the store needs and does not have yet; may be called again and again.

        Raises:
            StorageNotReady: When what is there belongs to a newer version.
        """

    def check(self) -> None:
        """Verify that the store can be used.

        Raises:
            StorageNotReady: When it cannot, with what is missing and what to do about it.
        """

    def close(self) -> None:
        """Close the connections of this process; the next call opens them again."""

    @property
    def place(self) -> Hashable:
        """Where it keeps things: equal for two stores that are made with the same address."""
        return self


class Answer(Enum):
    """What a store says to somebody who wants to begin."""

    NEW = "new"
    DONE = "done"


NEW: Literal[Answer.NEW] = Answer.NEW


DONE: Literal[Answer.DONE] = Answer.DONE


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else is at it.

    Parameters:
        seconds: How long its lease lasts from now.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """A stretch of time during which something is held.

    Parameters:
        since: When it began.
        until: When it ends.
    """

    since: float
    until: float

    def lasts(self, now: float) -> bool:
        """Whether it is held; a stretch that begins in the future was given before the clock was set back."""
        return self.since - CLOCK_SLACK_SECONDS <= now < self.until


class _Rings:
    """How often a bell has rung in one process."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.count = 0
        self.heard = threading.local()


class Bell:
    """Wakes the threads of this process; each hears every ring that came since it last listened."""

    def __init__(self) -> None:
        self._rings = PerProcess(_Rings)

    def ring(self) -> None:
        """Wake those who wait."""
        rings = self._rings.get()
        with rings.condition:
            rings.count += 1
            rings.condition.notify_all()

    def wait(self, timeout: float) -> bool:
        """Wait for a ring that this thread has not heard yet; whether there was one."""
        rings = self._rings.get()
        with rings.condition:
            rung = rings.condition.wait_for(lambda: rings.count != getattr(rings.heard, "count", 0), timeout)
            rings.heard.count = rings.count
            return rung


def moment(seconds: float) -> datetime:
    """A time that was kept as seconds since 1970."""
    return datetime.fromtimestamp(seconds, tz=UTC)


def check_aware(name: str, value: datetime | None) -> None:
    if value is not None and value.tzinfo is None:
        raise ValueError(f"{name} must have a time zone, unlike {value!r}")


def read_cursor(cursor: str) -> tuple[float, str]:
    """The time and the id that a cursor is made of.

    Raises:
        ValueError: When it is not a cursor.
    """
    time, slash, id_ = cursor.partition("/")
    try:
        if slash:
            return float(time), id_
    except ValueError:
        pass
    raise ValueError(f"{cursor!r} is not a cursor")


def storable(text: str) -> str:
    """A text whose characters that a database cannot hold (NUL, lone surrogates) are JSON escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\u0000")
