"""Lanes: the order in which events with one key are handled.

A lane is a queue in the store, and nothing of it travels: through the broker goes a bell, which says that
something waits there. Whoever hears it takes the lane, works at its items one after the other, and finishes
each.

A store says when a bell has to be rung: when something is put into a lane that nobody holds, and again by
`due` where nobody has come for a while.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from fastapi_events import checks
from fastapi_events.storage.base import CLOCK_SLACK_SECONDS, Store

MAX_LANE_ITEMS = 100_000
"""Items that wait in one lane."""

UNHEARD_SECONDS = 3.0
"""How long after its first bell a lane that nobody has taken is due once more."""

UNHEARD_AGAIN_SECONDS = 15.0
"""The same after its second bell; the pause doubles with each that nobody hears, as behind a long backlog."""

LONGEST_UNHEARD_SECONDS = 600.0


class Lane(NamedTuple):
    """The name of a lane.

    Parameters:
        destination: The name of the handler whose lane it is.
        target: What its items wait for: a subscription, or fan-out.
        key: Their ordering key.
    """

    destination: str
    target: str
    key: str


class Item(NamedTuple):
    """What waits in a lane.

    Parameters:
        id: Identifies it; put again while it waits, it stays where it is.
        text: An event's envelope.
        queue: Where a bell for it is rung.
    """

    id: str
    text: str
    queue: str


class Waiting(NamedTuple):
    """An item that waits, for people who look for it.

    Parameters:
        lane: Where.
        item: The item.
        ahead: How many stand before it.
    """

    lane: Lane
    item: Item
    ahead: int


class Head(NamedTuple):
    """A lane with what stands at its head, for people who look at it.

    Parameters:
        lane: Which one.
        item: Its first item.
        size: How many wait, with that one.
        is_held: Whether somebody works at it.
        not_before: When the first item may be worked at, as before another attempt; seconds since 1970.
        note: What was left of the last attempt at it.
    """

    lane: Lane
    item: Item
    size: int
    is_held: bool
    not_before: float
    note: str


class Due(NamedTuple):
    """A lane whose bell has to be rung.

    Parameters:
        lane: Which one.
        queue: That of its first item.
    """

    lane: Lane
    queue: str


@dataclass(frozen=True, slots=True)
class Placed:
    """What came of putting items into lanes.

    Parameters:
        due: Whose bells have to be rung.
        full: Which lanes had no room, and took nothing.
    """

    due: Sequence[Due]
    full: Collection[Lane]


@dataclass(frozen=True, slots=True)
class Taken:
    """A lane that is held now.

    Parameters:
        lane: Which one.
        items: Its first items, in their order.
        note: What was left of the last attempt at the first one.
        is_suspect: Whether somebody held the lane before and never came back; the first item may have ended
            its process.
    """

    lane: Lane
    items: Sequence[Item]
    note: str
    is_suspect: bool


@dataclass(frozen=True, slots=True)
class Move:
    """Items of a lane that are finished, and what follows them in other lanes.

    Parameters:
        lane: Where they were.
        ids: Which items.
        into: What is put into other lanes in the same step.
    """

    lane: Lane
    ids: Sequence[str]
    into: Mapping[Lane, Sequence[Item]] = field(default_factory=dict)


class Outcome(Enum):
    """What came of a move: it is done, or nothing has been changed."""

    DONE = "done"
    LOST = "lost"
    """The lane is somebody else's by now."""
    FULL = "full"
    """One of the other lanes has no room."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What came of a move.

    Parameters:
        outcome: Whether it is done.
        left: How many items the lane has still; it is held for as long as there are any.
        due: Whose bells have to be rung.
    """

    outcome: Outcome
    left: int = 0
    due: Sequence[Due] = ()


class Lanes(Store, ABC):
    """Order: in each lane the items that wait, first in, first out, and at most one holder.

    Parameters:
        max_items: How many wait in one lane at most.
    """

    max_items: int = MAX_LANE_ITEMS

    def __init__(self, *, max_items: int = MAX_LANE_ITEMS) -> None:
        self.max_items = checks.whole("max_items", max_items, least=1)

    @abstractmethod
    def put(self, items: Mapping[Lane, Sequence[Item]]) -> Placed:
        """Append items that are not there yet: of each lane all, or none where it has no room."""

    @abstractmethod
    def take(self, lanes: Sequence[Lane], *, token: str, lease: float, limit: int) -> Sequence[Taken]:
        """Hold those lanes that have items, that nobody else holds, and whose first item is due.

        Parameters:
            token: Nobody else's. The same may take its lanes again.
            lease: Seconds until they may go to somebody else.
            limit: How many items of each are given out.
        """

    @abstractmethod
    def extend(self, lanes: Sequence[Lane], *, token: str, lease: float) -> bool:
        """Hold lanes for another `lease` seconds from now; False where somebody else has one of them."""

    @abstractmethod
    def started(self, lane: Lane, *, token: str) -> int:
        """Count an attempt at the first item that may end the process.

        Returns:
            How many there were with this one, since one was last heard of.
        """

    @abstractmethod
    def finish(self, moves: Sequence[Move], *, token: str) -> Sequence[Finished]:
        """Remove items of lanes that the token holds, and put what follows. Each move is done whole, or not.

        A lane without items is held by nobody. Repeated, a move that is done is `LOST`.
        """

    def finish_and_take(
        self, move: Move, lanes: Sequence[Lane], *, token: str, lease: float, limit: int
    ) -> tuple[Finished, Sequence[Taken]]:
        """Do `finish`, then `take`, in one step where the store can, for a worker that goes on.

        Parameters:
            move: What is finished.
            lanes: Which lanes are taken.
            token: That of all these lanes.
            lease: See `take`.
            limit: See `take`.
        """
        [finished] = self.finish([move], token=token)
        return finished, self.take(lanes, token=token, lease=lease, limit=limit)

    @abstractmethod
    def release(self, lane: Lane, *, token: str, after: float = 0.0, note: str | None = None) -> Due | None:
        """Let others have a lane.

        Parameters:
            after: Seconds for which nobody may work at it, as before another attempt.
            note: What the next holder is told; what there was stays if it is not given.

        Returns:
            The bell that has to be rung, in `after` seconds. None where the token did not hold the lane.
        """

    @abstractmethod
    def due(self, destination: str, *, limit: int = 100, unheard: bool = False) -> Sequence[Due]:
        """Lanes that have waited for too long, each given out to one who asks: ring their bells.

        Parameters:
            destination: Whose lanes.
            unheard: Those as well whose last bell is only some seconds old, as when a worker starts.
        """

    @abstractmethod
    def missed(self, lanes: Sequence[Lane]) -> None:
        """Their bells could not be rung: they are due."""

    @abstractmethod
    def find(self, destination: str, prefix: str, *, limit: int = 20) -> Sequence[Waiting]:
        """Items whose ids begin with a prefix, for people: it looks through all lanes of a handler."""

    @abstractmethod
    def heads(self, destination: str, *, limit: int = 100) -> Sequence[Head]:
        """Lanes that have items, for people; where there are more, those that have waited longest or so."""

    @abstractmethod
    def count(self, destination: str) -> int:
        """How many lanes have items: one for each key and each function that is behind with it."""

    def forgets(self) -> str | None:
        """What a restart of its server costs, in words for `doctor`; None where it costs nothing.

        Raises:
            StorageError: When it cannot be asked.
        """
        return None

    def incarnation(self) -> str:
        """Names what the store holds; another name means that it has forgotten everything in between."""
        return ""


@dataclass(slots=True)
class Turn:
    """Who holds a lane, and when somebody has to look at it; what stores in Python keep of each.

    Parameters:
        token: The holder's.
        changed: When it was changed last.
        held_until: When the holder's lease ends.
        not_before: When the first item may be worked at.
        look_at: When a bell has to be rung.
        rings: How many bells nobody has heard.
        starts: See `Lanes.started`.
        note: See `Taken`.
        size: How many items wait.
    """

    token: str | None = None
    changed: float = 0.0
    held_until: float = 0.0
    not_before: float = 0.0
    look_at: float = 0.0
    rings: int = 0
    starts: int = 0
    note: str = ""
    size: int = 0

    def is_void(self, now: float) -> bool:
        """Whether the clock has been set back since, so that its times mean nothing."""
        return self.changed > now + CLOCK_SLACK_SECONDS

    def is_held(self, now: float) -> bool:
        """Whether a lease lasts."""
        return self.token is not None and now < self.held_until and not self.is_void(now)

    def may_take(self, token: str, now: float) -> bool:
        """Whether somebody may hold it now."""
        if not self.size or (self.is_held(now) and self.token != token):
            return False
        return now >= self.not_before or self.is_void(now)

    def take(self, token: str, now: float, lease: float) -> bool:
        """Hold it; whether it is suspect."""
        is_suspect = self.token not in (None, token) or self.starts > 0
        self.token, self.not_before, self.rings = token, 0.0, 0
        self.extend(now, lease)
        return is_suspect

    def extend(self, now: float, lease: float) -> None:
        """Hold it for longer."""
        self.changed, self.held_until = now, now + lease
        self.look_at = self.held_until

    def release(self, now: float, after: float, note: str | None) -> None:
        """Let others have it; a bell is about to be rung."""
        self.token, self.starts, self.not_before = None, 0, now + after if after else 0.0
        self.note = self.note if note is None else note
        self.changed, self.look_at, self.rings = now, now + after + UNHEARD_SECONDS, 1

    def is_due(self, now: float, *, unheard: bool = False) -> bool:
        """Whether a bell has to be rung."""
        if self.is_void(now):
            return True
        if self.is_held(now) or now < self.not_before:
            return False
        return now >= self.look_at or (unheard and now >= self.changed + UNHEARD_SECONDS)

    def rung(self, now: float) -> None:
        """A bell is about to be rung."""
        pause = UNHEARD_SECONDS if not self.rings else UNHEARD_AGAIN_SECONDS * 2.0 ** (self.rings - 1)
        if self.is_void(now):
            self.not_before = self.held_until = 0.0
        self.changed, self.look_at = now, now + min(pause, LONGEST_UNHEARD_SECONDS)
        self.rings = min(self.rings + 1, 16)

    def missed(self, now: float) -> None:
        """Note that a bell could not be rung."""
        if not self.is_held(now):
            self.rings = max(self.rings - 1, 0)
            self.look_at = max(now, self.not_before)
