"""The stores in this process's memory: for tests, and to be read as the specification of the others."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count, islice
from typing import TypeAlias

from fastapi_events.errors import StorageFull
from fastapi_events.storage.base import (
    CLOCK_SLACK_SECONDS,
    DONE,
    GONE,
    HEAD,
    MAX_ENTRIES,
    MAX_LANE_ITEMS,
    MAX_LETTERS,
    NEW,
    RESEND_AFTER_SECONDS,
    WAITING,
    Begun,
    Busy,
    Clock,
    DeadLetter,
    DeadLetters,
    Entered,
    Entries,
    Entry,
    Hold,
    Inbox,
    Item,
    Lanes,
    Letters,
    Outbox,
    OutboxStatus,
    moment,
    read_cursor,
    read_place,
)


@dataclass(slots=True)
class _Held:
    """Something that one owner at a time may hold."""

    owner: str | None = None
    hold: Hold | None = None

    def is_held(self, now: float) -> bool:
        return self.hold is not None and self.hold.lasts(now)

    def is_held_by_another(self, owner: str, now: float) -> bool:
        return self.owner not in (None, owner) and self.is_held(now)

    def take(self, owner: str | None, now: float, seconds: float) -> None:
        self.owner, self.hold = owner, Hold(now, now + seconds)

    def let_go(self) -> None:
        self.owner = self.hold = None

    def busy(self, now: float) -> Busy:
        return Busy(self.hold.until - now if self.hold is not None else 0.0)


@dataclass(slots=True)
class _Kept(_Held):
    """An entry; without an owner it is held while it waits for its receipts."""

    entry: Entry = field(kw_only=True)
    added: float = field(kw_only=True)
    place: int = field(kw_only=True)
    published: bool = False
    expected: frozenset[str] | None = None
    receipts: set[str] = field(default_factory=set)

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
        self._kept: dict[Item, _Kept] = {}
        self._places = count(1)

    def add(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            new = {_key(entry): entry for entry in reversed(entries) if _key(entry) not in self._kept}
            if len(self._kept) + len(new) > self.max_entries:
                raise StorageFull(
                    f"The outbox holds {len(self._kept)} of at most {self.max_entries} entries."
                )
            for key, entry in reversed(new.items()):
                self._kept[key] = _Kept(entry=entry, added=self._clock(), place=next(self._places))
        self._bell.ring()

    def claim(self, owner: str, *, destinations: Collection[str], limit: int, lease: float) -> Entries:
        with self._lock:
            now = self._clock()
            claimed: list[Entry] = []
            blocked: set[tuple[str, str | None]] = set()
            for kept in self._kept.values():
                if len(claimed) >= limit:
                    break
                entry = kept.entry
                lane = entry.destination, entry.ordering_key
                if kept.is_held_by_another(owner, now) and entry.ordering_key is not None:
                    blocked.add(lane)
                if entry.destination in destinations and lane not in blocked and kept.is_claimable(now):
                    kept.take(owner, now, lease)
                    claimed.append(entry)
            return claimed

    def extend(self, owner: str, entries: Sequence[Entry], *, lease: float) -> int:
        with self._lock:
            owned = self._owned(owner, entries)
            for kept in owned:
                kept.take(owner, self._clock(), lease)
            return len(owned)

    def published(
        self, owner: str, entries: Sequence[Entry], *, resend_after: float = RESEND_AFTER_SECONDS
    ) -> int:
        with self._lock:
            owned = self._owned(owner, entries)
            for kept in owned:
                if kept.entry.confirm == "published":
                    del self._kept[_key(kept.entry)]
                else:
                    kept.published = True
                    kept.take(None, self._clock(), resend_after)
            return len(owned)

    def release(self, owner: str, entries: Sequence[Entry]) -> int:
        with self._lock:
            owned = self._owned(owner, entries)
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

    def status(self) -> OutboxStatus:
        with self._lock:
            now = self._clock()
            counts = Counter(
                "claimed"
                if kept.owner is not None and kept.is_held(now)
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
        self._bell.ring()

    def _owned(self, owner: str, entries: Sequence[Entry]) -> _KeptOnes:
        kept = [self._kept.get(key) for key in dict.fromkeys(map(_key, entries))]
        return [each for each in kept if each is not None and each.owner == owner]

    def _remove_if_done(self, kept: _Kept) -> None:
        if kept.expected is not None and kept.expected <= kept.receipts:
            self._kept.pop(_key(kept.entry), None)


def _key(entry: Entry) -> Item:
    return entry.id, entry.destination


@dataclass(slots=True)
class _Work(_Held):
    """Work at one key; what is done is held for as long as that is remembered."""

    done: bool = False


class MemoryInbox(Inbox):
    """An inbox that ends with its process."""

    def __init__(self, *, clock: Clock = time.time) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._works: dict[str, _Work] = {}

    def begin(self, key: str, *, owner: str, lease: float) -> Begun:
        with self._lock:
            now = self._clock()
            work = self._works.setdefault(key, _Work())
            if work.done and work.hold is not None and now < work.hold.until:
                return DONE
            if not work.done and work.is_held_by_another(owner, now):
                return work.busy(now)
            work.done = False
            work.take(owner, now, lease)
            return NEW

    def extend(self, key: str, *, owner: str, lease: float) -> bool:
        with self._lock:
            work = self._works.get(key)
            if work is None or work.done or work.owner != owner:
                return False
            work.take(owner, self._clock(), lease)
            return True

    def complete(self, key: str, *, owner: str, keep: float) -> bool:
        with self._lock:
            work = self._works.setdefault(key, _Work())
            if work.owner not in (None, owner):
                return False
            work.done = True
            work.take(owner, self._clock(), keep)
            return True

    def release(self, key: str, *, owner: str) -> None:
        with self._lock:
            work = self._works.get(key)
            if work is not None and not work.done and work.owner == owner:
                del self._works[key]

    def expire(self) -> int:
        with self._lock:
            now = self._clock()
            old = [key for key, work in self._works.items() if work.hold is None or work.hold.until <= now]
            for key in old:
                del self._works[key]
            return len(old)


class MemoryDeadLetters(DeadLetters):
    """Dead letters that end with their process."""

    def __init__(self, *, max_letters: int = MAX_LETTERS) -> None:
        super().__init__(max_letters=max_letters)
        self._lock = threading.RLock()
        self._letters: dict[str, DeadLetter] = {}

    def bury(self, letter: DeadLetter) -> None:
        with self._lock:
            if letter.id not in self._letters and len(self._letters) >= self.max_letters:
                raise StorageFull(f"There are {len(self._letters)} dead letters, which is the limit.")
            self._letters[letter.id] = letter

    def list(
        self,
        *,
        limit: int = 100,
        after: str | None = None,
        subscription: str | None = None,
        event_name: str | None = None,
        handler: str | None = None,
    ) -> Letters:
        begin = None if after is None else read_cursor(after)
        letters = sorted(self._matching(subscription, event_name, handler), key=_place)
        return [letter for letter in letters if begin is None or _place(letter) > begin][:limit]

    def get(self, id: str) -> DeadLetter | None:  # noqa: A002
        return self._letters.get(id)

    def discard(self, ids: Collection[str]) -> int:
        with self._lock:
            return sum(self._letters.pop(id_, None) is not None for id_ in ids)

    def replayed(self, letters: Sequence[DeadLetter]) -> int:
        with self._lock:
            same = (each.id for each in letters if self._letters.get(each.id) == each)
            return self.discard(list(same))

    def expire(self, before: datetime) -> int:
        with self._lock:
            return self.discard([letter.id for letter in self._letters.values() if letter.last_at < before])

    def count(
        self,
        *,
        subscription: str | None = None,
        event_name: str | None = None,
        handler: str | None = None,
    ) -> int:
        return sum(1 for _ in self._matching(subscription, event_name, handler))

    def _matching(
        self, subscription: str | None, event_name: str | None, handler: str | None
    ) -> Iterator[DeadLetter]:
        with self._lock:
            letters = tuple(self._letters.values())
        for letter in letters:
            if (
                subscription in (None, letter.subscription)
                and event_name in (None, letter.event_name)
                and handler in (None, letter.handler)
            ):
                yield letter


def _place(letter: DeadLetter) -> tuple[float, str]:
    return letter.last_at.timestamp(), letter.id


@dataclass(slots=True)
class _Lane(_Held):
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

    def enter(self, lane: str, id: str, *, owner: str, lease: float) -> Entered:  # noqa: A002
        with self._lock:
            now = self._clock()
            waiting = self._lanes.get(lane)
            if waiting is None or id not in waiting.items:
                return GONE
            if not waiting.has_head(id):
                return WAITING
            if waiting.is_held_by_another(owner, now):
                return waiting.busy(now)
            waiting.take(owner, now, lease)
            return HEAD

    def extend(self, lane: str, id: str, *, owner: str, lease: float) -> bool:  # noqa: A002
        with self._lock:
            waiting = self._lanes.get(lane)
            if waiting is None or waiting.owner != owner or not waiting.has_head(id):
                return False
            waiting.take(owner, self._clock(), lease)
            return True

    def release(self, lane: str, id: str, *, owner: str) -> None:  # noqa: A002
        with self._lock:
            waiting = self._lanes.get(lane)
            if waiting is not None and waiting.owner == owner and waiting.has_head(id):
                waiting.let_go()

    def leave(self, lane: str, id: str, *, owner: str) -> Item | None:  # noqa: A002
        with self._lock:
            waiting = self._lanes.get(lane)
            if waiting is None:
                return None
            if id in waiting.items:
                if not waiting.has_head(id) or waiting.owner not in (None, owner):
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


class MemoryStore:
    """All four stores, in this process's memory.

    Parameters:
        max_entries: Events that the outbox holds at most.
        max_letters: Dead letters that are kept at most.
        max_items: Items that wait in one lane at most.
        clock: Tells the time.
    """

    def __init__(
        self,
        *,
        max_entries: int = MAX_ENTRIES,
        max_letters: int = MAX_LETTERS,
        max_items: int = MAX_LANE_ITEMS,
        clock: Clock = time.time,
    ) -> None:
        self.outbox = MemoryOutbox(max_entries=max_entries, clock=clock)
        self.inbox = MemoryInbox(clock=clock)
        self.dead_letters = MemoryDeadLetters(max_letters=max_letters)
        self.lanes = MemoryLanes(max_items=max_items, clock=clock)

    def setup(self) -> None:
        """Nothing needs to be created."""

    def check(self) -> None:
        """Nothing can be missing."""

    def close(self) -> None:
        """Nothing has to be closed."""
