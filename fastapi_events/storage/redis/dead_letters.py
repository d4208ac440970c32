"""Dead letters in Redis."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from fastapi_events.errors import StorageFull
from fastapi_events.storage.base import moment
from fastapi_events.storage.dead_letters import MAX_LETTERS, DeadLetter, DeadLetters, Letters, read_cursor
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
    return keys
end
local function remove(id)
    local text = redis.call('HGET', letters, id)
    if not text then return 0 end
    for _, key in ipairs(indexes(cjson.decode(text))) do redis.call('ZREM', key, id) end
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
for _, key in ipairs(indexes(cjson.decode(text))) do redis.call('ZADD', key, ARGV[5], id) end
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


class RedisDeadLetters(RedisPart, DeadLetters):
    """Dead letters in Redis."""

    def __init__(self, server: Server, *, max_letters: int = MAX_LETTERS, edit_letters: bool = False) -> None:
        RedisPart.__init__(self, server)
        DeadLetters.__init__(self, max_letters=max_letters, edit_letters=edit_letters)

    def add(self, letter: DeadLetter) -> None:
        values = {name: getattr(letter, name) for name in _FIELDS}
        values |= {"first_at": letter.first_at.timestamp(), "last_at": letter.last_at.timestamp()}
        text = json.dumps(values, ensure_ascii=False)
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
                if text is None or (passed is not None and (score, text_of(id_).encode()) <= passed):
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


def _letter(text: Any) -> DeadLetter:
    values = json.loads(text)
    times = {name: moment(values[name]) for name in ("first_at", "last_at")}
    return DeadLetter(**values | times)
