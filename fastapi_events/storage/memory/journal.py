"""The journal in this process's memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta

from fastapi_events.storage.base import Clock
from fastapi_events.storage.histories import History
from fastapi_events.storage.journal import (
    KEEP,
    MAX_ACTIONS,
    MAX_EVENTS,
    Action,
    Actions,
    Count,
    CountKey,
    Counts,
    Journal,
    JournalEvent,
    JournalEvents,
    Records,
    count_of,
    records_of,
)


class MemoryJournal(Journal):
    """A journal that ends with its process."""

    def __init__(
        self,
        *,
        keep: timedelta | float = KEEP,
        max_events: int = MAX_EVENTS,
        clock: Clock = time.time,
    ) -> None:
        super().__init__(keep=keep, max_events=max_events)
        self._clock = clock
        self._lock = threading.Lock()
        self._histories: dict[str, History] = {}
        self._counts: dict[CountKey, Count] = {}
        self._actions: deque[Action] = deque(maxlen=MAX_ACTIONS)

    def put(self, histories: Sequence[History], counts: Sequence[Count] = ()) -> None:
        with self._lock:
            for each in histories:
                known = self._histories.setdefault(each.id, each)
                if known is not each:
                    known.go_on(each)
            for one in counts:
                before = self._counts.get(one.key)
                total = one.count + (0 if before is None else before.count)
                self._counts[one.key] = count_of(one.key, total)

    def chain(self, correlation: str, *, limit: int = 1_000) -> JournalEvents:
        found = [each for each in self._all() if each.correlation == correlation]
        return sorted(found, key=lambda each: (each.first_at, each.id))[:limit]

    def find(self, prefix: str, *, limit: int = 10) -> JournalEvents:
        found = [each for each in self._all() if each.id.startswith(prefix)]
        return sorted(found, key=lambda each: each.id)[:limit]

    def records(self, event_id: str) -> Records:
        with self._lock:
            history = self._histories.get(event_id)
            return [] if history is None else records_of(JournalEvent.of(history), [history.text])

    def counts(self, since: datetime) -> Counts:
        with self._lock:
            found = [each for each in self._counts.values() if each.minute > since.timestamp() - 60]
        return sorted(found, key=lambda each: each.key)

    def note(self, action: Action) -> None:
        self._actions.appendleft(action)

    def actions(self, *, limit: int = 100) -> Actions:
        return list(self._actions)[:limit]

    def prune(self) -> int:
        with self._lock:
            end = self._clock() - self.keep_seconds
            self._counts = {key: each for key, each in self._counts.items() if each.minute > end - 60}
            by_worth = sorted(self._histories.values(), key=lambda each: (each.is_notable, each.last_at))
            old = [each.id for each in by_worth if each.last_at < end]
            left = [each.id for each in by_worth if each.last_at >= end]
            gone = old + left[: max(0, len(left) - self.max_events)]
            for id_ in gone:
                del self._histories[id_]
            return len(gone)

    def _latest(
        self,
        limit: int,
        *,
        below: tuple[float, str] | None,
        since: float | None,
        only_notable: bool,
        name: str | None = None,
        outcome: str | None = None,
        ordering_key: str | None = None,
    ) -> JournalEvents:
        found = [
            each
            for each in self._all()
            if (below is None or _place(each) < below)
            and (since is None or each.last_at >= since)
            and (each.is_notable or not only_notable)
        ]
        return sorted(found, key=_place, reverse=True)[:limit]

    def _all(self) -> JournalEvents:
        with self._lock:
            return [JournalEvent.of(each) for each in self._histories.values()]


def _place(event: JournalEvent) -> tuple[float, str]:
    return event.last_at, event.id
