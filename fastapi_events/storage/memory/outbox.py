"""The outbox in this process's memory."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import TypeAlias

from fastapi_events.errors import StorageFull
from fastapi_events.storage.base import Clock, moment
from fastapi_events.storage.memory.held import Held
from fastapi_events.storage.outbox import (
    LONGEST_RESEND_SECONDS,
    MAX_ENTRIES,
    RESEND_AFTER_SECONDS,
    Entries,
    Entry,
    Outbox,
    OutboxStatus,
    read_place,
)


@dataclass(slots=True)
class _Kept(Held):
    """An entry; without a token it is held while it waits for its receipts."""

    entry: Entry = field(kw_only=True)
    added: float = field(kw_only=True)
    place: int = field(kw_only=True)
    published: bool = False
    expected: frozenset[str] | None = None
    receipts: set[str] = field(default_factory=set)

    @property
    def begun(self) -> float:
        """Since when it could be published."""
        due = self.entry.due
        return self.added if due is None else max(self.added, due.timestamp())

    def is_claimable(self, now: float) -> bool:
        due = self.entry.due
        return not self.is_held(now) and (due is None or due.timestamp() <= now)


_KeptOnes: TypeAlias = list[_Kept]


class MemoryOutbox(Outbox):
    """An outbox that ends with its process."""

    def __init__(self, *, max_entries: int = MAX_ENTRIES, clock: Clock = time.time) -> None:
        super().__init__(max_entries=max_entries)
        self._clock = clock
        self._lock = threading.RLock()
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._places = count(1)

    def add(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            new = {_key(entry): entry for entry in reversed(entries) if _key(entry) not in self._kept}
            if len(self._kept) + len(new) > self.max_entries:
                raise StorageFull(
                    f"The outbox holds {len(self._kept)} of at most {self.max_entries} entries."
                )
            for key, entry in reversed(new.items()):
                kept = _Kept(entry=entry, added=self._clock(), place=next(self._places))
                if entry.held:
                    kept.take(None, kept.added, entry.held)
                self._kept[key] = kept
        self._bell.ring()

    def claim(
        self,
        token: str,
        *,
        destinations: Collection[str],
        limit: int,
        lease: float,
        ordered: bool | None = None,
    ) -> Entries:
        with self._lock:
            now = self._clock()
            claimed: list[Entry] = []
            blocked: set[tuple[str, str | None]] = set()
            for kept in self._kept.values():
                if len(claimed) >= limit:
                    break
                entry = kept.entry
                lane = entry.destination, entry.ordering_key
                is_asked = ordered is None or ordered == (entry.ordering_key is not None)
                if not is_asked or entry.destination not in destinations:
                    continue
                if lane not in blocked and kept.is_claimable(now):
                    kept.take(token, now, lease)
                    claimed.append(entry)
                elif entry.ordering_key is not None and not kept.published and kept.token != token:
                    blocked.add(lane)
            return claimed

    def waiting_keys(
        self, destination: str, keys: Collection[str], *, beside: Collection[str] = ()
    ) -> set[str]:
        with self._lock:
            return {
                key
                for kept in self._kept.values()
                if kept.entry.destination == destination and not kept.published
                and kept.entry.id not in beside
                and (key := kept.entry.ordering_key) is not None and key in keys
            }  # fmt: skip

    def extend(self, token: str, entries: Sequence[Entry], *, lease: float) -> int:
        with self._lock:
            owned = self._owned(token, entries)
            for kept in owned:
                kept.take(token, self._clock(), lease)
            return len(owned)

    def published(
        self, token: str, entries: Sequence[Entry], *, resend_after: float = RESEND_AFTER_SECONDS
    ) -> int:
        with self._lock:
            owned = self._owned(token, entries)
            for kept in owned:
                if kept.entry.confirm == "published":
                    del self._kept[_key(kept.entry)]
                else:
                    kept.published = True
                    waited = min(self._clock() - kept.begun, LONGEST_RESEND_SECONDS)
                    kept.take(None, self._clock(), max(resend_after, waited))
            return len(owned)

    def release(self, token: str, entries: Sequence[Entry]) -> int:
        with self._lock:
            owned = self._owned(token, entries)
            for kept in owned:
                kept.let_go()
        if owned:
            self._bell.ring()
        return len(owned)

    def expect(self, event_id: str, destination: str, subscriptions: Collection[str]) -> set[str]:
        with self._lock:
            kept = self._kept.get((event_id, destination))
            if kept is None:
                return set(subscriptions)
            kept.expected = frozenset(subscriptions)
            self._remove_if_done(kept)
            return set(kept.expected - kept.receipts)

    def receipt(self, event_id: str, destination: str, subscription: str) -> None:
        with self._lock:
            kept = self._kept.get((event_id, destination))
            if kept is not None:
                kept.receipts.add(subscription)
                self._remove_if_done(kept)

    def awaits(self, event_id: str, destination: str, subscription: str) -> bool:
        with self._lock:
            kept = self._kept.get((event_id, destination))
            return kept is not None and subscription not in kept.receipts

    def status(self) -> OutboxStatus:
        with self._lock:
            now = self._clock()
            counts = Counter(
                "claimed"
                if kept.token is not None and kept.is_held(now)
                else "unconfirmed"
                if kept.published
                else "waiting"
                for kept in self._kept.values()
            )
            return OutboxStatus(
                waiting=counts["waiting"],
                claimed=counts["claimed"],
                unconfirmed=counts["unconfirmed"],
                oldest=next((moment(kept.added) for kept in self._kept.values()), None),
            )

    def list(self, *, limit: int = 100, after: str | None = None) -> Entries:
        place = 0 if after is None else read_place(after)
        with self._lock:
            return list(
                islice(
                    (
                        replace(kept.entry, cursor=str(kept.place))
                        for kept in self._kept.values()
                        if kept.place > place
                    ),
                    limit,
                )
            )

    def discard(self, entries: Sequence[Entry]) -> int:
        with self._lock:
            return sum(self._kept.pop(key, None) is not None for key in map(_key, entries))

    def reschedule(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            for entry in entries:
                if (kept := self._kept.get(_key(entry))) is not None:
                    kept.entry = replace(kept.entry, due=entry.due)
                    if kept.token is None and not kept.published:
                        kept.let_go()
        self._bell.ring()

    def _owned(self, token: str, entries: Sequence[Entry]) -> _KeptOnes:
        kept = [self._kept.get(key) for key in dict.fromkeys(map(_key, entries))]
        return [each for each in kept if each is not None and each.token == token]

    def _remove_if_done(self, kept: _Kept) -> None:
        if kept.expected is not None and kept.expected <= kept.receipts:
            self._kept.pop(_key(kept.entry), None)


def _key(entry: Entry) -> tuple[str, str]:
    return entry.id, entry.destination
