"""The journal in Redis."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import to_json

from fastapi_events.storage.histories import History, bits_of, outcomes_of
from fastapi_events.storage.journal import (
    KEEP,
    MAX_ACTIONS,
    MAX_EVENTS,
    Action,
    Actions,
    Count,
    Counts,
    Journal,
    JournalEvent,
    JournalEvents,
    Records,
    action_of,
    count_of,
    records_of,
    text_of_action,
)
from fastapi_events.storage.redis.scripts import COMMON
from fastapi_events.storage.redis.server import RedisPart, Server, in_our_words, text_of

_PAGE = 500
"""Events that are asked for, written or removed at once."""

_FIELDS = ("name", "first", "last", "outcomes", "cause", "correlation", "payload", "ordering_key")

_WRITE = (
    COMMON
    + """
local ordinary, notable = prefix .. 'journal:ordinary', prefix .. 'journal:notable'
local function exact(value) return string.format('%.17g', value) end
for _, event in ipairs(cjson.decode(ARGV[3])) do
    local id, name, first, last, outcomes, is_notable, cause, correlation, payload, texts = unpack(event)
    local lane = event[11]
    first, last = exact(first), exact(last)
    local key = prefix .. 'journal:event:' .. id
    local known = redis.call('HMGET', key, 'first', 'last', 'outcomes', 'ordering_key')
    if known[1] then
        if tonumber(known[1]) < tonumber(first) then first = known[1] end
        if tonumber(known[2]) > tonumber(last) then last = known[2] end
        outcomes = bit.bor(outcomes, tonumber(known[3]))
    end
    redis.call('HSET', key, 'name', name, 'first', first, 'last', last, 'outcomes', outcomes)
    if cause ~= '' then redis.call('HSET', key, 'cause', cause) end
    if payload ~= '' then redis.call('HSET', key, 'payload', payload) end
    if correlation ~= '' then
        redis.call('HSET', key, 'correlation', correlation)
        redis.call('ZADD', prefix .. 'journal:chain:' .. correlation, first, id)
    end
    if lane == '' then lane = known[4] or '' else redis.call('HSET', key, 'ordering_key', lane) end
    if lane ~= '' then redis.call('ZADD', prefix .. 'journal:lane:' .. lane, last, id) end
    redis.call('ZADD', prefix .. 'journal:ids', 0, id)
    if is_notable or redis.call('ZSCORE', notable, id) then
        redis.call('ZREM', ordinary, id)
        redis.call('ZADD', notable, last, id)
    else
        redis.call('ZADD', ordinary, last, id)
    end
    redis.call('RPUSH', prefix .. 'journal:records:' .. id, texts)
end
for _, sum in ipairs(cjson.decode(ARGV[4])) do
    local minute, key, count = unpack(sum)
    redis.call('ZADD', prefix .. 'journal:minutes', minute, minute)
    redis.call('HINCRBY', prefix .. 'journal:minute:' .. minute, key, count)
end
return 1
"""
)

_LATEST = (
    COMMON
    + """
local name, bits, found = ARGV[8], tonumber(ARGV[9]), {}
local range = redis.call(
    'ZREVRANGEBYSCORE', prefix .. ARGV[3], ARGV[4], ARGV[5], 'WITHSCORES', 'LIMIT', ARGV[6], ARGV[7]
)
local function is_meant(id)
    if name == '' and bits == 0 then return true end
    local row = redis.call('HMGET', prefix .. 'journal:event:' .. id, 'name', 'outcomes')
    return row[1] and string.sub(row[1], 1, #name) == name
        and (bits == 0 or bit.band(tonumber(row[2]), bits) ~= 0)
end
for at = 1, #range, 2 do
    if is_meant(range[at]) then
        found[#found + 1] = {range[at], range[at + 1]}
    end
end
return {#range / 2, range[#range] or '', range[#range - 1] or '', found}
"""
)

_PRUNE = (
    COMMON
    + """
local most, page, till = tonumber(ARGV[3]), tonumber(ARGV[4]), now - tonumber(ARGV[5])
local sets = {prefix .. 'journal:ordinary', prefix .. 'journal:notable'}
local count = 0
local function remove(id)
    local key = prefix .. 'journal:event:' .. id
    local correlation, lane = unpack(redis.call('HMGET', key, 'correlation', 'ordering_key'))
    if correlation then redis.call('ZREM', prefix .. 'journal:chain:' .. correlation, id) end
    if lane then redis.call('ZREM', prefix .. 'journal:lane:' .. lane, id) end
    redis.call('DEL', key, prefix .. 'journal:records:' .. id)
    redis.call('ZREM', prefix .. 'journal:ids', id)
    for _, set in ipairs(sets) do redis.call('ZREM', set, id) end
    count = count + 1
end
for _, set in ipairs(sets) do
    local limit = page - count
    local old = redis.call('ZRANGEBYSCORE', set, '-inf', '(' .. number(till), 'LIMIT', 0, limit)
    for _, id in ipairs(old) do remove(id) end
end
for _, set in ipairs(sets) do
    local spare = redis.call('ZCARD', sets[1]) + redis.call('ZCARD', sets[2]) - most
    spare = math.min(spare, page - count)
    if spare > 0 then
        for _, id in ipairs(redis.call('ZRANGE', set, 0, spare - 1)) do remove(id) end
    end
end
local minutes = prefix .. 'journal:minutes'
for _, minute in ipairs(redis.call('ZRANGEBYSCORE', minutes, '-inf', number(till - 60), 'LIMIT', 0, page)) do
    redis.call('DEL', prefix .. 'journal:minute:' .. minute)
    redis.call('ZREM', minutes, minute)
end
return count
"""
)


class RedisJournal(RedisPart, Journal):
    """A journal in Redis."""

    def __init__(
        self, server: Server, *, keep: timedelta | float = KEEP, max_events: int = MAX_EVENTS
    ) -> None:
        RedisPart.__init__(self, server)
        Journal.__init__(self, keep=keep, max_events=max_events)

    def put(self, histories: Sequence[History], counts: Sequence[Count] = ()) -> None:
        events = [
            (
                each.id, each.name, each.first_at, each.last_at, each.bits, each.is_notable,
                each.cause or "", each.correlation or "", each.payload or "", each.text,
                each.ordering_key or "",
            )
            for each in histories
        ]  # fmt: skip
        sums = [(each.minute, json.dumps(each.key[1:], ensure_ascii=False), each.count) for each in counts]
        for page in _pages(events):
            self._server.run(_WRITE, to_json(page).decode(), "[]")
        for page in _pages(sums):
            self._server.run(_WRITE, "[]", to_json(page).decode())

    def chain(self, correlation: str, *, limit: int = 1_000) -> JournalEvents:
        return self._events(self._call("zrange", f"journal:chain:{correlation}", 0, limit - 1))

    def find(self, prefix: str, *, limit: int = 10) -> JournalEvents:
        begin, end = b"[" + prefix.encode(), b"[" + prefix.encode() + b"\xff"
        return self._events(self._call("zrangebylex", "journal:ids", begin, end, start=0, num=limit))

    def records(self, event_id: str) -> Records:
        found = self._events([event_id])
        if not found:
            return []
        texts = self._call("lrange", f"journal:records:{event_id}", 0, -1)
        return records_of(found[0], [text_of(each) for each in texts])

    def counts(self, since: datetime) -> Counts:
        found = []
        for minute in self._call("zrangebyscore", "journal:minutes", f"({since.timestamp() - 60!r}", "+inf"):
            sums = self._call("hgetall", f"journal:minute:{text_of(minute)}")
            for key, count in sums.items():
                name, *handler, subscription, measure = json.loads(text_of(key))
                of = handler[0] if handler else ""  # which an earlier version did not tell apart
                found.append(count_of((int(text_of(minute)), name, of, subscription, measure), int(count)))
        return sorted(found, key=lambda each: each.key)

    def note(self, action: Action) -> None:
        with in_our_words():
            pipeline = self._server.client.pipeline()
            key = f"{self._server.prefix}journal:actions"
            pipeline.lpush(key, text_of_action(action)).ltrim(key, 0, MAX_ACTIONS - 1).execute()

    def actions(self, *, limit: int = 100) -> Actions:
        return [action_of(text_of(each)) for each in self._call("lrange", "journal:actions", 0, limit - 1)]

    def prune(self) -> int:
        count = 0
        while True:
            removed = int(self._server.run(_PRUNE, self.max_events, _PAGE, self.keep_seconds))
            count += removed
            if removed < _PAGE:
                return count

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
        if ordering_key is not None:
            sets: tuple[str, ...] = (f"lane:{ordering_key}",)
        else:
            sets = ("notable",) if only_notable else ("notable", "ordinary")
        begins = "" if name is None else re.split(r"[*?\[]", name, maxsplit=1)[0]
        bits = 0 if outcome is None else bits_of([outcome])
        several = [self._descending(f"journal:{each}", below, since, begins, bits) for each in sets]
        merged = heapq.merge(*several, key=lambda each: (each[0], each[1].encode()), reverse=True)
        return self._events([id_ for (_, id_), _ in zip(merged, range(limit), strict=False)])

    def _descending(
        self, key: str, below: tuple[float, str] | None, since: float | None, begins: str, bits: int
    ) -> Iterator[tuple[float, str]]:
        """The last that happened to events, and their ids, the latest first.

        Parameters:
            begins: How their names begin.
            bits: One of these outcomes is theirs, if there are any.
        """
        lowest = "-inf" if since is None else repr(since)
        passed = (float("inf"), b"") if below is None else (below[0], below[1].encode())
        highest, start = passed[0], 0
        while True:
            asked = key, highest, lowest, start, _PAGE, begins, bits
            looked_at, last, last_id, page = self._server.run(_LATEST, *asked)
            for id_, score in page:
                if (float(score), text_of(id_).encode()) < passed:
                    yield float(score), text_of(id_)
            if looked_at < _PAGE:
                return
            # From the last one on, and not by their number: to skip many takes the server long.
            start = start + _PAGE if float(last) == highest else 0
            highest = float(last)
            passed = min(passed, (highest, text_of(last_id).encode()))

    def _events(self, ids: Sequence[Any]) -> JournalEvents:
        """The events with these ids, without those that have gone meanwhile."""
        texts = [text_of(each) for each in ids]
        with in_our_words():
            pipeline = self._server.client.pipeline(transaction=False)
            for each in texts:
                pipeline.hmget(f"{self._server.prefix}journal:event:{each}", _FIELDS)
            rows = pipeline.execute()
        return [
            _event(id_, [None if each is None else text_of(each) for each in row])
            for id_, row in zip(texts, rows, strict=True)
            if row[0] is not None
        ]

    def _call(self, command: str, key: str, *arguments: Any, **options: Any) -> Any:
        with in_our_words():
            return getattr(self._server.client, command)(f"{self._server.prefix}{key}", *arguments, **options)


def _pages(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (rows[begin : begin + _PAGE] for begin in range(0, len(rows), _PAGE))


def _event(id_: str, row: Sequence[Any]) -> JournalEvent:
    name, first, last, outcomes, cause, correlation, payload, ordering_key = row
    return JournalEvent(
        id=id_, name=name, first_at=float(first), last_at=float(last), outcomes=outcomes_of(int(outcomes)),
        cause=cause, correlation=correlation, ordering_key=ordering_key, payload=payload,
    )  # fmt: skip
