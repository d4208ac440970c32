"""Lanes in this process's memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from fastapi_events.storage.base import Clock
from fastapi_events.storage.lanes import (
    MAX_LANE_ITEMS,
    Due,
    Finished,
    Head,
    Item,
    Lane,
    Lanes,
    Move,
    Outcome,
    Placed,
    Taken,
    Turn,
    Waiting,
)


@dataclass(slots=True)
class _Kept:
    """A lane's items, and who holds them."""

    items: dict[str, Item] = field(default_factory=dict)
    turn: Turn = field(default_factory=Turn)

    @property
    def queue(self) -> str:
        """Where a bell for it is rung."""
        return next(iter(self.items.values())).queue


class MemoryLanes(Lanes):
    """Lanes that end with their process."""

    def __init__(self, *, max_items: int = MAX_LANE_ITEMS, clock: Clock = time.time) -> None:
        super().__init__(max_items=max_items)
        self._clock = clock
        self._lock = threading.RLock()
        self._lanes: dict[Lane, _Kept] = {}

    def put(self, items: Mapping[Lane, Sequence[Item]]) -> Placed:
        with self._lock:
            full = [lane for lane, new in items.items() if not self._has_room(lane, new)]
            due = self._put({lane: new for lane, new in items.items() if lane not in full})
            return Placed(due, full)

    def take(self, lanes: Sequence[Lane], *, token: str, lease: float, limit: int) -> Sequence[Taken]:
        taken = []
        with self._lock:
            now = self._clock()
            for lane in lanes:
                kept = self._lanes.get(lane)
                if kept is None or not kept.turn.may_take(token, now):
                    continue
                is_suspect = kept.turn.take(token, now, lease)
                items = tuple(islice(kept.items.values(), limit))
                taken.append(Taken(lane, items, kept.turn.note, is_suspect))
        return taken

    def find(self, destination: str, prefix: str, *, limit: int = 20) -> Sequence[Waiting]:
        with self._lock:
            found = [
                Waiting(lane, item, ahead)
                for lane, kept in self._lanes.items()
                if lane.destination == destination
                for ahead, item in enumerate(kept.items.values())
                if item.id.startswith(prefix)
            ]
        return sorted(found)[:limit]

    def heads(self, destination: str, *, limit: int = 100) -> Sequence[Head]:
        with self._lock:
            now = self._clock()
            found = (
                Head(
                    lane, next(iter(kept.items.values())), len(kept.items), kept.turn.is_held(now),
                    kept.turn.not_before, kept.turn.note,
                )
                for lane, kept in self._lanes.items()
                if lane.destination == destination
            )  # fmt: skip
            return list(islice(found, limit))

    def extend(self, lanes: Sequence[Lane], *, token: str, lease: float) -> bool:
        with self._lock:
            held = [kept for lane in lanes if (kept := self._held(lane, token)) is not None]
            for kept in held:
                kept.turn.extend(self._clock(), lease)
            return len(held) == len(lanes)

    def started(self, lane: Lane, *, token: str) -> int:
        with self._lock:
            kept = self._held(lane, token)
            if kept is None:
                return 0
            kept.turn.starts += 1
            return kept.turn.starts

    def finish(self, moves: Sequence[Move], *, token: str) -> Sequence[Finished]:
        with self._lock:
            return [self._finish(move, token) for move in moves]

    def release(self, lane: Lane, *, token: str, after: float = 0.0, note: str | None = None) -> Due | None:
        with self._lock:
            kept = self._held(lane, token)
            if kept is None:
                return None
            kept.turn.release(self._clock(), after, note)
            return Due(lane, kept.queue)

    def due(self, destination: str, *, limit: int = 100, unheard: bool = False) -> Sequence[Due]:
        with self._lock:
            now = self._clock()
            found = [
                (lane, kept)
                for lane, kept in self._lanes.items()
                if lane.destination == destination and kept.turn.is_due(now, unheard=unheard)
            ][:limit]
            for _, kept in found:
                kept.turn.rung(now)
            return [Due(lane, kept.queue) for lane, kept in found]

    def missed(self, lanes: Sequence[Lane]) -> None:
        with self._lock:
            for lane in lanes:
                if (kept := self._lanes.get(lane)) is not None:
                    kept.turn.missed(self._clock())

    def count(self, destination: str) -> int:
        with self._lock:
            return sum(lane.destination == destination for lane in self._lanes)

    def _has_room(self, lane: Lane, items: Sequence[Item]) -> bool:
        waiting = self._lanes[lane].items if lane in self._lanes else {}
        new = {each.id for each in items} - waiting.keys()
        return not new or len(waiting) + len(new) <= self.max_items

    def _put(self, items: Mapping[Lane, Sequence[Item]]) -> list[Due]:
        now, due = self._clock(), []
        for lane, new in items.items():
            if not new:
                continue
            kept = self._lanes.setdefault(lane, _Kept())
            for item in new:
                kept.items.setdefault(item.id, item)
            kept.turn.size = len(kept.items)
            if kept.turn.is_due(now):
                kept.turn.rung(now)
                due.append(Due(lane, kept.queue))
        return due

    def _finish(self, move: Move, token: str) -> Finished:
        kept = self._held(move.lane, token)
        if kept is None:
            return Finished(Outcome.LOST)
        if not all(self._has_room(lane, items) for lane, items in move.into.items()):
            return Finished(Outcome.FULL, len(kept.items))
        due = self._put(move.into)
        for each in move.ids:
            kept.items.pop(each, None)
        kept.turn.size, kept.turn.note, kept.turn.starts = len(kept.items), "", 0
        if not kept.items:
            del self._lanes[move.lane]
        return Finished(Outcome.DONE, len(kept.items), due)

    def _held(self, lane: Lane, token: str) -> _Kept | None:
        kept = self._lanes.get(lane)
        return kept if kept is not None and kept.turn.token == token else None
