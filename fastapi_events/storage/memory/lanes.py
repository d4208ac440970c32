"""Lanes in this process's memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi_events.errors import StorageFull
from fastapi_events.storage.base import CLOCK_SLACK_SECONDS, GONE, HEAD, WAITING, Clock
from fastapi_events.storage.lanes import MAX_LANE_ITEMS, Entered, Item, Lanes
from fastapi_events.storage.memory.held import Held


@dataclass(slots=True)
class _Lane(Held):
    """A lane's items; it is the head that is held."""

    items: dict[str, str] = field(default_factory=dict)
    head_since: float = 0.0

    def first(self) -> Item | None:
        return next(iter(self.items.items()), None)

    def has_head(self, id_: str) -> bool:
        first = self.first()
        return first is not None and first[0] == id_


class MemoryLanes(Lanes):
    """Lanes that end with their process."""

    def __init__(self, *, max_items: int = MAX_LANE_ITEMS, clock: Clock = time.time) -> None:
        super().__init__(max_items=max_items)
        self._clock = clock
        self._lock = threading.RLock()
        self._lanes: dict[str, _Lane] = {}

    def push(self, lane: str, items: Sequence[Item]) -> str | None:
        with self._lock:
            waiting = self._lanes.get(lane) or _Lane(head_since=self._clock())
            all_items = dict(items) | waiting.items
            if len(all_items) > max(self.max_items, len(waiting.items)):
                raise StorageFull(f"The lane {lane!r} holds {len(waiting.items)} of {self.max_items} items.")
            for id_, text in items:
                waiting.items.setdefault(id_, text)
            if waiting.items:
                self._lanes[lane] = waiting
            return next((id_ for id_, _ in items if waiting.has_head(id_)), None)

    def enter(self, lane: str, id: str, *, token: str, lease: float) -> Entered:  # noqa: A002
        with self._lock:
            now = self._clock()
            waiting = self._lanes.get(lane)
            if waiting is None or id not in waiting.items:
                return GONE
            if not waiting.has_head(id):
                return WAITING
            if waiting.is_held_by_another(token, now):
                return waiting.busy(now)
            waiting.take(token, now, lease)
            return HEAD

    def extend(self, lane: str, id: str, *, token: str, lease: float) -> bool:  # noqa: A002
        with self._lock:
            waiting = self._lanes.get(lane)
            if waiting is None or waiting.token != token or not waiting.has_head(id):
                return False
            waiting.take(token, self._clock(), lease)
            return True

    def release(self, lane: str, id: str, *, token: str) -> None:  # noqa: A002
        with self._lock:
            waiting = self._lanes.get(lane)
            if waiting is not None and waiting.token == token and waiting.has_head(id):
                waiting.let_go()

    def leave(self, lane: str, id: str, *, token: str) -> Item | None:  # noqa: A002
        with self._lock:
            waiting = self._lanes.get(lane)
            if waiting is None:
                return None
            if id in waiting.items:
                if not waiting.has_head(id) or waiting.token not in (None, token):
                    return None
                del waiting.items[id]
                waiting.let_go()
                waiting.head_since = self._clock()
            if not waiting.items:
                del self._lanes[lane]
            return waiting.first()

    def stalled(
        self, *, older_than: float, limit: int = 100, lane: str | None = None
    ) -> list[tuple[str, str, str]]:
        with self._lock:
            now = self._clock()
            heads = [
                (waiting.head_since, name, *first)
                for name, waiting in self._lanes.items()
                if lane in (None, name)
                and (first := waiting.first()) is not None
                and not waiting.is_held(now)
            ]
        waited = [
            head[1:]
            for head in sorted(heads)
            if now - head[0] > older_than or head[0] > now + CLOCK_SLACK_SECONDS  # set back meanwhile
        ]
        return waited[:limit]
