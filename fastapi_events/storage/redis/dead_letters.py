"""Dead letters in Redis."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from fastapi_events.errors import StorageFull
from fastapi_events.storage.base import moment, read_cursor
from fastapi_events.storage.dead_letters import (
    MAX_LETTERS,
    DeadLetter,
    DeadLetters,
    LetterGroups,
    Letters,
)
from fastapi_events.storage.letters import LetterFilter, group_id, group_like, groups_of
from fastapi_events.storage.redis.scripts import COMMON
from fastapi_events.storage.redis.server import RedisPart, Server, in_our_words, text_of

_PAGE = 500
"""Letters that are asked for at once."""


_FIELDS = [field.name for field in fields(DeadLetter)]


_LETTERS = """
local letters, all = prefix .. 'dead:letters', prefix .. 'dead:all'
local function indexes(letter)
    local keys = {all}
    for _, field in ipairs({'subscription', 'event_name', 'handler'}) do
        if type(letter[field]) == 'string' then
            keys[#keys + 1] = prefix .. 'dead:by:' .. field .. ':' .. letter[field]
        end
    end
    if letter.group then
        keys[#keys + 1] = prefix .. 'dead:group:' .. letter.handler .. '/' .. letter.group
    end
    return keys
end
local groups, events = prefix .. 'dead:groups', prefix .. 'dead:events'
local function event_key(letter, id)
    return type(letter.event_id) == 'string' and (letter.event_id .. '\\n' .. id) or nil
end
local function remove(id)
    local text = redis.call('HGET', letters, id)
    if not text then return 0 end
    local letter = cjson.decode(text)
    local keys = indexes(letter)
    for _, key in ipairs(keys) do redis.call('ZREM', key, id) end
    local key = event_key(letter, id)
    if key then redis.call('ZREM', events, key) end
    if letter.group and redis.call('EXISTS', keys[#keys]) == 0 then
        redis.call('SREM', groups, letter.handler .. '/' .. letter.group)
    end
    return redis.call('HDEL', letters, id)
end
"""


_ADD = (
    COMMON
    + _LETTERS
    + """
local id, text = ARGV[3], ARGV[4]
if redis.call('HEXISTS', letters, id) == 0 then
    if redis.call('HLEN', letters) >= tonumber(ARGV[6]) then return 0 end
else
    remove(id)
end
redis.call('HSET', letters, id, text)
local letter = cjson.decode(text)
for _, key in ipairs(indexes(letter)) do redis.call('ZADD', key, ARGV[5], id) end
local key = event_key(letter, id)
if key then redis.call('ZADD', events, 0, key) end
redis.call('SADD', groups, letter.handler .. '/' .. letter.group)
return 1
"""
)

_DISCARD = (
    COMMON
    + _LETTERS
    + """
local count = 0
for argument = 3, #ARGV do count = count + remove(ARGV[argument]) end
return count
"""
)

_REPLAYED = (
    COMMON
    + _LETTERS
    + """
local count = 0
for argument = 3, #ARGV, 2 do
    local given_up = redis.call('ZSCORE', all, ARGV[argument])
    if given_up and tonumber(given_up) == tonumber(ARGV[argument + 1]) then
        count = count + remove(ARGV[argument])
    end
end
return count
"""
)

_EXPIRE = (
    COMMON
    + _LETTERS
    + """
local old = redis.call('ZRANGEBYSCORE', all, '-inf', '(' .. ARGV[3], 'LIMIT', 0, ARGV[4])
for _, id in ipairs(old) do remove(id) end
return #old
"""
)


_WITHOUT_GROUP = (
    COMMON
    + _LETTERS
    + """
local grouped = 0
for _, name in ipairs(redis.call('SMEMBERS', groups)) do
    grouped = grouped + redis.call('ZCARD', prefix .. 'dead:group:' .. name)
end
return redis.call('ZCARD', all) - grouped
"""
)

_REGROUP = (
    COMMON
    + _LETTERS
    + """
local id, before, after = ARGV[3], ARGV[4], ARGV[5]
if redis.call('HGET', letters, id) ~= before then return 0 end
redis.call('HSET', letters, id, after)
local letter, score = cjson.decode(after), redis.call('ZSCORE', all, id)
for _, key in ipairs(indexes(letter)) do redis.call('ZADD', key, score, id) end
local key = event_key(letter, id)
if key then redis.call('ZADD', events, 0, key) end
redis.call('SADD', groups, letter.handler .. '/' .. letter.group)
return 1
"""
)


class RedisDeadLetters(RedisPart, DeadLetters):
    """Dead letters in Redis."""

    def __init__(self, server: Server, *, max_letters: int = MAX_LETTERS, edit_letters: bool = False) -> None:
        RedisPart.__init__(self, server)
        DeadLetters.__init__(self, max_letters=max_letters, edit_letters=edit_letters)

    def add(self, letter: DeadLetter) -> None:
        values = {name: getattr(letter, name) for name in _FIELDS}
        values |= {"first_at": letter.first_at.timestamp(), "last_at": letter.last_at.timestamp()}
        text = json.dumps(values | {"group": group_id(letter)}, ensure_ascii=False)
        if not self._server.run(_ADD, letter.id, text, letter.last_at.timestamp(), self.max_letters):
            raise StorageFull(f"There are as many dead letters as there may be, {self.max_letters}.")

    def list(
        self,
        *,
        limit: int = 100,
        after: str | None = None,
        subscription: str | None = None,
        event_name: str | None = None,
        handler: str | None = None,
        group: str | None = None,
        wanted: LetterFilter | None = None,
    ) -> Letters:
        begin = None if after is None else read_cursor(after)
        if wanted is not None and wanted.since is not None:
            begin = max(begin or (0.0, ""), (wanted.since.timestamp(), ""))
        found: Letters = []
        for letter in self._matching(begin, subscription, event_name, handler, group):
            if len(found) >= limit:
                break
            found.append(letter)
        return found

    def get(self, id: str) -> DeadLetter | None:  # noqa: A002
        with in_our_words():
            text = self._server.client.hget(f"{self._server.prefix}dead:letters", id)
        return None if text is None else _letter(text)

    def find(self, prefix: str, *, handler: str | None = None, limit: int = 20) -> Letters:
        client, key = self._server.client, f"{self._server.prefix}dead:events"
        found: Letters = []
        start = 0
        while len(found) < limit:
            with in_our_words():
                page = client.zrangebylex(key, f"[{prefix}", f"[{prefix}\U0010ffff", start, _PAGE)
                ids = [text_of(each).rpartition("\n")[2] for each in page]
                texts = client.hmget(f"{self._server.prefix}dead:letters", ids) if ids else []
            letters = (_letter(text) for text in texts if text is not None)
            found += (each for each in letters if handler in (None, each.handler))
            if len(page) < _PAGE:
                break
            start += _PAGE
        return found[:limit]

    def discard(self, ids: Collection[str]) -> int:
        some = sorted(set(ids))
        return sum(
            int(self._server.run(_DISCARD, *some[begin : begin + _PAGE]))
            for begin in range(0, len(some), _PAGE)
        )

    def replayed(self, letters: Sequence[DeadLetter]) -> int:
        flat = [part for each in letters for part in (each.id, each.last_at.timestamp())]
        return sum(
            int(self._server.run(_REPLAYED, *flat[begin : begin + 2 * _PAGE]))
            for begin in range(0, len(flat), 2 * _PAGE)
        )

    def expire(self, before: datetime) -> int:
        count = 0
        while True:
            removed = int(self._server.run(_EXPIRE, before.timestamp(), _PAGE))
            count += removed
            if removed < _PAGE:
                return count

    def count(
        self,
        *,
        subscription: str | None = None,
        event_name: str | None = None,
        handler: str | None = None,
        group: str | None = None,
    ) -> int:
        names = (
            subscription,
            event_name,
            None if group is not None and handler is not None else handler,
            group,
        )
        if names.count(None) < 3 or (group is not None and handler is None):
            return sum(1 for _ in self._matching(None, subscription, event_name, handler, group))
        if group is not None:
            self._regroup()
        with in_our_words():
            return int(self._server.client.zcard(self._index(subscription, event_name, handler, group)))

    def groups(
        self, *, handler: str | None = None, limit: int = 100, wanted: LetterFilter | None = None
    ) -> LetterGroups:
        if wanted is not None and not wanted.is_empty:
            since = None if wanted.since is None else (wanted.since.timestamp(), "")
            asked = wanted.subscription, wanted.event_name, handler, wanted.whole_group
            return groups_of(filter(wanted.matches, self._matching(since, *asked)))[:limit]
        client, prefix = self._server.client, self._server.prefix
        self._regroup()
        with in_our_words():
            names = [text_of(each) for each in client.smembers(f"{prefix}dead:groups")]
            if handler is not None:
                names = [each for each in names if each.rpartition("/")[0] == handler]
            pipeline = client.pipeline(transaction=False)
            for each in names:
                key = f"{prefix}dead:group:{each}"
                pipeline.zcard(key).zrange(key, 0, 0, withscores=True).zrange(key, -1, -1)
            answers = pipeline.execute()
            sizes = sorted(zip(answers[::3], answers[1::3], answers[2::3], names, strict=True), key=_by_size)
            some = [(size, first[0][1], last[0]) for size, first, last, _ in sizes if size][:limit]
            ids = [last for _, _, last in some]
            texts = client.hmget(f"{prefix}dead:letters", ids) if ids else []
        return [
            group_like(_letter(text), count=size, first_at=moment(first))
            for (size, first, _), text in zip(some, texts, strict=True)
            if text is not None
        ]

    def _regroup(self) -> None:
        """Put letters into their groups that an earlier version has kept, which knew of none."""
        if not self._server.run(_WITHOUT_GROUP):
            return
        with in_our_words():
            for id_, before in self._server.client.hscan_iter(
                f"{self._server.prefix}dead:letters", count=_PAGE
            ):
                values = json.loads(before)
                if "group" not in values:
                    after = json.dumps(values | {"group": group_id(_letter(before))}, ensure_ascii=False)
                    self._server.run(_REGROUP, text_of(id_), text_of(before), after)

    def _index(
        self, subscription: str | None, event_name: str | None, handler: str | None, group: str | None
    ) -> str:
        if group is not None and handler is not None:
            return f"{self._server.prefix}dead:group:{handler}/{group}"
        wanted = {"subscription": subscription, "event_name": event_name, "handler": handler}
        names = (f"dead:by:{field}:{value}" for field, value in wanted.items() if value is not None)
        return self._server.prefix + next(names, "dead:all")

    def _matching(
        self,
        begin: tuple[float, str] | None,
        subscription: str | None,
        event_name: str | None,
        handler: str | None,
        group: str | None,
    ) -> Iterator[DeadLetter]:
        if group is not None:
            self._regroup()
        client, index = self._server.client, self._index(subscription, event_name, handler, group)
        lowest = "-inf" if begin is None else repr(begin[0])
        passed = None if begin is None else (begin[0], begin[1].encode())
        start = 0
        while True:
            with in_our_words():
                page = client.zrangebyscore(index, lowest, "+inf", start, _PAGE, withscores=True)
                ids = [id_ for id_, _ in page]
                texts = client.hmget(f"{self._server.prefix}dead:letters", ids) if ids else []
            for (id_, score), text in zip(page, texts, strict=True):
                if text is None or (passed is not None and (score, text_of(id_).encode()) <= passed):
                    continue  # it has gone meanwhile, or was on the page before
                letter = _letter(text)
                if (
                    subscription in (None, letter.subscription)
                    and event_name in (None, letter.event_name)
                    and handler in (None, letter.handler)
                    and (group is None or group == group_id(letter))
                ):
                    yield letter
            if len(page) < _PAGE:
                return
            start += _PAGE


def _by_size(group: tuple[int, Any, Any, str]) -> tuple[int, str]:
    return -group[0], group[3]


def _letter(text: Any) -> DeadLetter:
    values = json.loads(text)
    values.pop("group", None)  # which an earlier version did not keep
    times = {name: moment(values[name]) for name in ("first_at", "last_at")}
    return DeadLetter(**values | times)
