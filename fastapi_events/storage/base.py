"""The four stores, as small interfaces; `storage.memory` shows in plain Python what each method means.

All methods are synchronous: publisher threads, relay threads and workers call them, from any thread and in a
forked child. They raise `StorageError` where the driver fails.

Who works at something holds it with a lease, under a token of its own (`owner`). A lease that has run out and
that nobody else has taken still counts as its owner's. Where the clock has been set back, a lease that would
begin in the future is void, so that nothing stays held for longer than it was meant to.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import Enum
from typing import Literal, TypeAlias

MAX_ENTRIES = 1_000_000
"""Events that an outbox holds."""

MAX_LETTERS = 1_000_000
"""Dead letters that are kept."""

MAX_LANE_ITEMS = 100_000
"""Items that wait in one lane."""

RESEND_AFTER_SECONDS = 15.0
"""How long a published event may wait for its receipts before it is published again."""

CLOCK_SLACK_SECONDS = 5.0
"""How far a clock may be set back before the leases given until then are void."""

Clock: TypeAlias = Callable[[], float]
"""Seconds since 1970, as `time.time` gives them."""

Item: TypeAlias = tuple[str, str]
"""An item of a lane: its id and its text."""


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


# Outbox


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An event on its way to one handler.

    Parameters:
        id: The event's id.
        destination: The name of the handler that it is for.
        envelope: The event's envelope, JSON text.
        ordering_key: Entries of one destination with the same key go out in the order they came.
        due: When to publish it, at the earliest; at once if not given.
        confirm: When the entry is done: once the broker has confirmed it, or once its subscriptions have run.
        cursor: Where it stands in the outbox that it comes from; opaque, and good even after it has gone.
    """

    id: str
    destination: str
    envelope: str
    ordering_key: str | None = None
    due: datetime | None = None
    confirm: Literal["published", "handled"] = "published"
    cursor: str | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_aware("due", self.due)
        if self.confirm not in ("published", "handled"):
            raise ValueError(f"confirm must be 'published' or 'handled', not {self.confirm!r}")


Entries: TypeAlias = list[Entry]


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxStatus:
    """How many entries an outbox holds.

    Parameters:
        waiting: To be published, now or when they are due.
        claimed: Held by a relay that publishes them.
        unconfirmed: Published, and waiting for the receipts of their subscriptions.
        oldest: When the oldest entry was added.
    """

    waiting: int
    claimed: int
    unconfirmed: int
    oldest: datetime | None


def read_place(cursor: str) -> int:
    """Where in its outbox an entry stands.

    Raises:
        ValueError: When it is not a cursor.
    """
    try:
        return int(cursor)
    except ValueError:
        raise ValueError(f"{cursor!r} is not a cursor of an entry") from None


class Outbox(Store, ABC):
    """Events that have not arrived yet.

    Parameters:
        max_entries: How many it holds at most; several processes that add at once may exceed it a little.
    """

    max_entries: int = MAX_ENTRIES

    def __init__(self, *, max_entries: int = MAX_ENTRIES) -> None:
        self.max_entries = max_entries
        self._bell = Bell()

    @abstractmethod
    def add(self, entries: Sequence[Entry]) -> None:
        """Keep entries: all or none, durable on return. One with the same id and destination stays as it is.

        Raises:
            StorageFull: When there is no room for them.
        """

    @abstractmethod
    def claim(self, owner: str, *, destinations: Collection[str], limit: int, lease: float) -> Entries:
        """Take the oldest entries that are due and that nobody holds, in the order in which they were added.

        An entry with an ordering key is not given out while another owner holds one before it. An entry that
        waits for its receipts is given out again once its resend time has passed.

        Parameters:
            owner: A token of the relay's own, which it uses nowhere else.
            destinations: The handlers whose entries the relay can publish.
            lease: Seconds until the entries may go to another owner.
        """

    @abstractmethod
    def extend(self, owner: str, entries: Sequence[Entry], *, lease: float) -> int:
        """Hold entries for another `lease` seconds from now.

        Returns:
            How many of them the owner still holds.
        """

    @abstractmethod
    def published(
        self, owner: str, entries: Sequence[Entry], *, resend_after: float = RESEND_AFTER_SECONDS
    ) -> int:
        """The broker has confirmed them: they are removed, or wait for their receipts (`confirm="handled"`).

        Parameters:
            resend_after: Seconds after which an entry that has not got its receipts is given out again.

        Returns:
            How many of them the owner still held; the others are left as they are.
        """

    @abstractmethod
    def release(self, owner: str, entries: Sequence[Entry]) -> int:
        """Give back what was claimed and not published: it may be claimed again at once.

        Returns:
            How many of them the owner still held.
        """

    @abstractmethod
    def expect(self, event_id: str, destination: str, subscriptions: Collection[str]) -> set[str]:
        """Fan-out has found who listens to an event. Repeated, it replaces what was expected before.

        Returns:
            Those that have given no receipt yet: all of them where the outbox does not have the event. With
            none left the entry is done, and removed.
        """

    def expect_all(
        self, destination: str, listening: Mapping[str, Collection[str]]
    ) -> Mapping[str, set[str]]:
        """`expect` for many events: who listens to each, by its id, and who has given no receipt yet."""
        return {event_id: self.expect(event_id, destination, names) for event_id, names in listening.items()}

    @abstractmethod
    def receipt(self, event_id: str, destination: str, subscription: str) -> None:
        """A subscription has handled the event, or it is among the dead letters.

        The entry is removed once all who are expected have said so. Nothing is kept of an event that the
        outbox does not have.
        """

    @abstractmethod
    def status(self) -> OutboxStatus:
        """Count the entries."""

    @abstractmethod
    def list(self, *, limit: int = 100, after: str | None = None) -> Entries:
        """Show entries, the oldest first.

        Parameters:
            after: Begin behind the entry with this `cursor`, which may have gone meanwhile.
        """

    @abstractmethod
    def discard(self, entries: Sequence[Entry]) -> int:
        """Remove entries, whoever holds them, and count those that were there."""

    @abstractmethod
    def reschedule(self, entries: Sequence[Entry]) -> None:
        """Let entries be due when they say so now, rather than when they said so as they were added."""

    def wait(self, timeout: float) -> None:
        """Wait until something may be there to claim, or until so many seconds have passed."""
        self._bell.wait(timeout)


# Inbox


class Answer(Enum):
    """What a store says to somebody who wants to begin."""

    NEW = "new"
    DONE = "done"
    HEAD = "head"
    WAITING = "waiting"
    GONE = "gone"


NEW: Literal[Answer.NEW] = Answer.NEW
DONE: Literal[Answer.DONE] = Answer.DONE
HEAD: Literal[Answer.HEAD] = Answer.HEAD
WAITING: Literal[Answer.WAITING] = Answer.WAITING
GONE: Literal[Answer.GONE] = Answer.GONE


@dataclass(frozen=True, slots=True)
class Busy:
    """Another owner is at it.

    Parameters:
        seconds: How long its lease lasts from now.
    """

    seconds: float


Begun: TypeAlias = Literal[Answer.NEW, Answer.DONE] | Busy
Entered: TypeAlias = Literal[Answer.HEAD, Answer.WAITING, Answer.GONE] | Busy


class Inbox(Store, ABC):
    """What subscriptions have completed, and who is at what.

    A key names the work of one subscription on one event.
    """

    @abstractmethod
    def begin(self, key: str, *, owner: str, lease: float) -> Begun:
        """Begin to work, unless it is done or another owner is at it; the same owner may begin again.

        Parameters:
            owner: A token of this attempt's own.
            lease: Seconds after which another may begin.
        """

    @abstractmethod
    def extend(self, key: str, *, owner: str, lease: float) -> bool:
        """Hold it for another `lease` seconds from now; False where the owner has lost it."""

    @abstractmethod
    def complete(self, key: str, *, owner: str, keep: float) -> bool:
        """It is done. Repeating it is harmless.

        Parameters:
            keep: Seconds for which that is remembered.

        Returns:
            False where the lease had gone to another; nothing is changed then.
        """

    @abstractmethod
    def release(self, key: str, *, owner: str) -> None:
        """It has failed: anybody may begin again at once."""

    @abstractmethod
    def expire(self) -> int:
        """Forget what need not be remembered any longer, and count it: 0 where the server does it unasked."""


# Dead letters


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """A message that was given up.

    Characters that a database cannot hold (NUL, lone surrogates) are kept as their JSON escapes.

    Parameters:
        id: The message's id.
        handler: The handler's name.
        subscription: The subscription's name.
        queue: The queue that it came from.
        event_id: The event's id, where the envelope could be read.
        event_name: The event's name, where the envelope could be read.
        argument: The message's one argument, JSON text: the envelope where it could be read.
        reason: Why it was given up, in one line.
        traceback: Where the last attempt failed.
        attempts: How often it was tried.
        first_at: The first attempt, if known, else the last one.
        last_at: The burial.
    """

    id: str
    handler: str
    subscription: str
    queue: str
    event_id: str | None
    event_name: str | None
    argument: str
    reason: str
    traceback: str
    attempts: int
    first_at: datetime
    last_at: datetime

    def __post_init__(self) -> None:
        _check_aware("first_at", self.first_at)
        _check_aware("last_at", self.last_at)
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, str):
                # The class is frozen for its users; until here it is still being made.
                object.__setattr__(self, each.name, _storable(value))

    @property
    def cursor(self) -> str:
        """Where the letter stands in the list; opaque, and good even after the letter has gone."""
        return f"{self.last_at.timestamp()!r}/{self.id}"


Letters: TypeAlias = list[DeadLetter]


def read_cursor(cursor: str) -> tuple[float, str]:
    """The burial's time and the letter's id.

    Raises:
        ValueError: When it is not a cursor.
    """
    time, slash, id_ = cursor.partition("/")
    try:
        if slash:
            return float(time), id_
    except ValueError:
        pass
    raise ValueError(f"{cursor!r} is not a cursor of a dead letter")


class DeadLetters(Store, ABC):
    """Messages that were given up, until somebody decides about them.

    Parameters:
        max_letters: How many are kept at most; several processes that bury at once may exceed it a little.
    """

    max_letters: int = MAX_LETTERS

    def __init__(self, *, max_letters: int = MAX_LETTERS) -> None:
        self.max_letters = max_letters

    @abstractmethod
    def bury(self, letter: DeadLetter) -> None:
        """Keep a letter; one with the same id is replaced.

        Raises:
            StorageFull: When there is no room for it.
        """

    @abstractmethod
    def list(
        self,
        *,
        limit: int = 100,
        after: str | None = None,
        subscription: str | None = None,
        event_name: str | None = None,
        handler: str | None = None,
    ) -> Letters:
        """Show letters, the oldest burial first.

        Parameters:
            after: Begin behind the letter with this `cursor`, which may have gone meanwhile.
        """

    @abstractmethod
    def get(self, id: str) -> DeadLetter | None:  # noqa: A002 - the word of the field
        """The letter with this id."""

    @abstractmethod
    def discard(self, ids: Collection[str]) -> int:
        """Remove letters, and count those that were there."""

    @abstractmethod
    def replayed(self, letters: Sequence[DeadLetter]) -> int:
        """Their messages have been sent once more: remove them, and count those that were there.

        One that has been buried again since it was read stays: its message has failed again already.
        """

    @abstractmethod
    def expire(self, before: datetime) -> int:
        """Remove what was buried before that time, and count it."""

    @abstractmethod
    def count(
        self,
        *,
        subscription: str | None = None,
        event_name: str | None = None,
        handler: str | None = None,
    ) -> int:
        """Count letters."""


# Lanes


class Lanes(Store, ABC):
    """Order: in each lane the items that wait, first in, first out. Only the head of a lane may be worked at.

    Parameters:
        max_items: How many wait in one lane at most.
    """

    max_items: int = MAX_LANE_ITEMS

    def __init__(self, *, max_items: int = MAX_LANE_ITEMS) -> None:
        self.max_items = max_items

    @abstractmethod
    def push(self, lane: str, items: Sequence[Item]) -> str | None:
        """Append items that are not there yet: all or none.

        Returns:
            The id of the lane's head if it is among the items that were given, so that its message has to be
            sent; else None.

        Raises:
            StorageFull: When the lane has no room for them.
        """

    @abstractmethod
    def enter(self, lane: str, id: str, *, owner: str, lease: float) -> Entered:  # noqa: A002
        """Work at an item, if it is the lane's head: `HEAD`. The same owner may enter again.

        Otherwise it is `WAITING` behind the head, `GONE` (done already), or another owner is at it: `Busy`.
        """

    @abstractmethod
    def extend(self, lane: str, id: str, *, owner: str, lease: float) -> bool:  # noqa: A002
        """Hold the head for another `lease` seconds from now; False where the owner has lost it."""

    @abstractmethod
    def release(self, lane: str, id: str, *, owner: str) -> None:  # noqa: A002
        """It has failed and stays at the head: anybody may enter at once."""

    @abstractmethod
    def leave(self, lane: str, id: str, *, owner: str) -> Item | None:  # noqa: A002
        """The head is done, and removed. Repeating it is harmless.

        Returns:
            The item that is at the head now, whose message has to be sent. None where the lane is empty, or
            another owner holds the item: nothing is changed then.
        """

    @abstractmethod
    def stalled(
        self, *, older_than: float, limit: int = 100, lane: str | None = None
    ) -> list[tuple[str, str, str]]:
        """Heads that nobody holds and that have been at the head for more than `older_than` seconds.

        Parameters:
            lane: Look only at this one.

        Returns:
            Lane, id and text of each: their messages have to be sent again.
        """


# What implementations share


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


class Bell:
    """Wakes the threads of this process; each hears every ring that came since it last listened."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._condition = threading.Condition()
        self._rings = 0
        self._heard = threading.local()

    def ring(self) -> None:
        """Wake those who wait."""
        if self._pid != os.getpid():  # another thread may have held the lock when this process was forked
            self._renew()
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def wait(self, timeout: float) -> bool:
        """Wait for a ring that this thread has not heard yet; whether there was one."""
        if self._pid != os.getpid():
            self._renew()
        with self._condition:
            rung = self._condition.wait_for(lambda: self._rings != getattr(self._heard, "rings", 0), timeout)
            self._heard.rings = self._rings
            return rung


def moment(seconds: float) -> datetime:
    """A time that was kept as seconds since 1970."""
    return datetime.fromtimestamp(seconds, tz=UTC)


def _check_aware(name: str, value: datetime | None) -> None:
    if value is not None and value.tzinfo is None:
        raise ValueError(f"{name} must have a time zone, unlike {value!r}")


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\u0000")
