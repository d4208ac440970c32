"""Inbox, dead letters and lanes in Redis or Valkey, from version 5; an outbox needs SQL.

Each method is one script, which the server runs alone. The keys have one hash tag, so that a cluster keeps
them on one node.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from typing import Any

from fastapi_events.errors import MissingDependencyError, StorageError, StorageFull, StorageNotReady
from fastapi_events.storage.base import (
    DONE,
    GONE,
    HEAD,
    MAX_LANE_ITEMS,
    MAX_LETTERS,
    NEW,
    WAITING,
    Begun,
    Busy,
    Clock,
    DeadLetter,
    DeadLetters,
    Entered,
    Inbox,
    Item,
    Lanes,
    Letters,
    Store,
    moment,
    read_cursor,
)
from fastapi_events.storage.redis_scripts import SCRIPTS

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as missing:
    raise MissingDependencyError("redis", "redis") from missing

_PAGE = 500
"""Letters that are asked for at once."""

_FIELDS = [field.name for field in fields(DeadLetter)]


class _Server:
    """A connection to the server, and the scripts that it runs.

    redis-py opens connections anew in a forked process by itself.
    """

    def __init__(self, target: redis.Redis | str, prefix: str, clock: Clock | None) -> None:
        # A server that does not answer must not hold a thread for ever; our callers know when to try again.
        self.client: Any = (
            redis.Redis.from_url(
                target, socket_timeout=5.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0)
            )
            if isinstance(target, str)
            else target
        )
        self.is_ours = isinstance(target, str)
        self.prefix = f"{{{prefix}}}:"
        self._clock = clock
        self._scripts = {name: self.client.register_script(text) for name, text in SCRIPTS.items()}

    def run(self, name: str, *arguments: object) -> Any:
        """Run a script."""
        now = "" if self._clock is None else repr(self._clock())
        with in_our_words():
            return self._scripts[name](keys=[], args=[self.prefix, now, *map(_argument, arguments)])

    def check(self) -> None:
        with in_our_words():
            memory = self.client.info("memory")
        if memory.get("maxmemory") and str(memory.get("maxmemory_policy")).startswith("allkeys"):
            raise StorageNotReady(
                f"Redis may evict what it should keep: maxmemory-policy is {memory['maxmemory_policy']}. "
                "Set it to noeviction."
            )

    def close(self) -> None:
        if self.is_ours:
            self.client.close()


class _Part(Store):
    def __init__(self, server: _Server) -> None:
        self._server = server

    def check(self) -> None:
        self._server.check()

    def close(self) -> None:
        self._server.close()


class RedisInbox(_Part, Inbox):
    """An inbox in Redis; the server itself forgets what need not be remembered."""

    def begin(self, key: str, *, owner: str, lease: float) -> Begun:
        answer, seconds = self._server.run("inbox_begin", key, owner, lease)
        found = _text(answer)
        return NEW if found == "new" else DONE if found == "done" else Busy(float(seconds))

    def extend(self, key: str, *, owner: str, lease: float) -> bool:
        return bool(self._server.run("inbox_extend", key, owner, lease))

    def complete(self, key: str, *, owner: str, keep: float) -> bool:
        return bool(self._server.run("inbox_complete", key, owner, keep))

    def release(self, key: str, *, owner: str) -> None:
        self._server.run("inbox_release", key, owner)

    def expire(self) -> int:
        return 0


class RedisDeadLetters(_Part, DeadLetters):
    """Dead letters in Redis."""

    def __init__(self, server: _Server, *, max_letters: int = MAX_LETTERS) -> None:
        _Part.__init__(self, server)
        DeadLetters.__init__(self, max_letters=max_letters)

    def bury(self, letter: DeadLetter) -> None:
        values = {name: getattr(letter, name) for name in _FIELDS}
        values |= {"first_at": letter.first_at.timestamp(), "last_at": letter.last_at.timestamp()}
        text = json.dumps(values, ensure_ascii=False)
        if not self._server.run("dead_bury", letter.id, text, letter.last_at.timestamp(), self.max_letters):
            raise StorageFull(f"There are as many dead letters as there may be, {self.max_letters}.")

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
        found: Letters = []
        for letter in self._matching(begin, subscription, event_name, handler):
            if len(found) >= limit:
                break
            found.append(letter)
        return found

    def get(self, id: str) -> DeadLetter | None:  # noqa: A002
        with in_our_words():
            text = self._server.client.hget(f"{self._server.prefix}dead:letters", id)
        return None if text is None else _letter(text)

    def discard(self, ids: Collection[str]) -> int:
        some = sorted(set(ids))
        return sum(
            int(self._server.run("dead_discard", *some[begin : begin + _PAGE]))
            for begin in range(0, len(some), _PAGE)
        )

    def replayed(self, letters: Sequence[DeadLetter]) -> int:
        flat = [part for each in letters for part in (each.id, each.last_at.timestamp())]
        return sum(
            int(self._server.run("dead_replayed", *flat[begin : begin + 2 * _PAGE]))
            for begin in range(0, len(flat), 2 * _PAGE)
        )

    def expire(self, before: datetime) -> int:
        count = 0
        while True:
            removed = int(self._server.run("dead_expire", before.timestamp(), _PAGE))
            count += removed
            if removed < _PAGE:
                return count

    def count(
        self,
        *,
        subscription: str | None = None,
        event_name: str | None = None,
        handler: str | None = None,
    ) -> int:
        if [subscription, event_name, handler].count(None) < 2:
            return sum(1 for _ in self._matching(None, subscription, event_name, handler))
        with in_our_words():
            return int(self._server.client.zcard(self._index(subscription, event_name, handler)))

    def _index(self, subscription: str | None, event_name: str | None, handler: str | None) -> str:
        wanted = {"subscription": subscription, "event_name": event_name, "handler": handler}
        names = (f"dead:by:{field}:{value}" for field, value in wanted.items() if value is not None)
        return self._server.prefix + next(names, "dead:all")

    def _matching(
        self,
        begin: tuple[float, str] | None,
        subscription: str | None,
        event_name: str | None,
        handler: str | None,
    ) -> Iterator[DeadLetter]:
        client, index = self._server.client, self._index(subscription, event_name, handler)
        lowest = "-inf" if begin is None else repr(begin[0])
        passed = None if begin is None else (begin[0], begin[1].encode())
        start = 0
        while True:
            with in_our_words():
                page = client.zrangebyscore(index, lowest, "+inf", start, _PAGE, withscores=True)
                ids = [id_ for id_, _ in page]
                texts = client.hmget(f"{self._server.prefix}dead:letters", ids) if ids else []
            for (id_, score), text in zip(page, texts, strict=True):
                if text is None or (passed is not None and (score, _text(id_).encode()) <= passed):
                    continue  # it has gone meanwhile, or was on the page before
                letter = _letter(text)
                if (
                    subscription in (None, letter.subscription)
                    and event_name in (None, letter.event_name)
                    and handler in (None, letter.handler)
                ):
                    yield letter
            if len(page) < _PAGE:
                return
            start += _PAGE


class RedisLanes(_Part, Lanes):
    """Lanes in Redis."""

    def __init__(self, server: _Server, *, max_items: int = MAX_LANE_ITEMS) -> None:
        _Part.__init__(self, server)
        Lanes.__init__(self, max_items=max_items)

    def push(self, lane: str, items: Sequence[Item]) -> str | None:
        flat = [part for item in items for part in item]
        answer = self._server.run("lane_push", lane, self.max_items, *flat)
        if answer == -1:
            raise StorageFull(f"The lane {lane!r} has no room for more than {self.max_items} items.")
        return None if answer is None else _text(answer)

    def enter(self, lane: str, id: str, *, owner: str, lease: float) -> Entered:  # noqa: A002
        answer, seconds = self._server.run("lane_enter", lane, id, owner, lease)
        found = _text(answer)
        if found == "busy":
            return Busy(float(seconds))
        return HEAD if found == "head" else WAITING if found == "waiting" else GONE

    def extend(self, lane: str, id: str, *, owner: str, lease: float) -> bool:  # noqa: A002
        return bool(self._server.run("lane_extend", lane, id, owner, lease))

    def release(self, lane: str, id: str, *, owner: str) -> None:  # noqa: A002
        self._server.run("lane_release", lane, id, owner)

    def leave(self, lane: str, id: str, *, owner: str) -> Item | None:  # noqa: A002
        return _item(self._server.run("lane_leave", lane, id, owner))

    def stalled(
        self, *, older_than: float, limit: int = 100, lane: str | None = None
    ) -> list[tuple[str, str, str]]:
        found = self._server.run("lane_stalled", older_than, limit, lane or "")
        return [(_text(name), _text(id_), _text(text)) for name, id_, text in found]


class RedisStore(_Part):
    """Inbox, dead letters and lanes on one Redis or Valkey server.

    Parameters:
        target: A URL, or a client; a client keeps its own time-outs, and is not closed by us.
        prefix: What the keys begin with, in braces.
        max_letters: Dead letters that are kept at most.
        max_items: Items that wait in one lane at most.
        clock: Tells the time instead of the server.
    """

    def __init__(
        self,
        target: redis.Redis | str,
        *,
        prefix: str = "fastapi_events",
        max_letters: int = MAX_LETTERS,
        max_items: int = MAX_LANE_ITEMS,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(_Server(target, prefix, clock))
        self.inbox = RedisInbox(self._server)
        self.dead_letters = RedisDeadLetters(self._server, max_letters=max_letters)
        self.lanes = RedisLanes(self._server, max_items=max_items)


@contextmanager
def in_our_words() -> Iterator[None]:
    """Raise our errors for the driver's."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        text = f"Redis: {type(error).__name__}: {error}"
        if isinstance(error, redis.ReadOnlyError) or "READONLY" in str(error):
            raise StorageNotReady(f"{text} (connect to the primary)") from error
        if any(word in str(error) for word in ("OOM", "MISCONF")):
            raise StorageFull(f"{text} (make room)") from error
        raise StorageError(text) from error


def _argument(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _text(value: Any) -> str:
    """An answer of the server, whether or not the client decodes answers."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _item(answer: Any) -> Item | None:
    return (_text(answer[0]), _text(answer[1])) if answer else None


def _letter(text: Any) -> DeadLetter:
    values = json.loads(text)
    times = {name: moment(values[name]) for name in ("first_at", "last_at")}
    return DeadLetter(**values | times)
