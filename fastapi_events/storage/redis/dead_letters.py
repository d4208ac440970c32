"""Dead letters in Redis."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from itertools import islice
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
from fastapi_events.storage.letters import (
    LetterFilter,
    LetterGroup,
    group_id,
    group_like,
    ordering_key_in,
)
from fastapi_events.storage.redis.letter_search import GROUP, ORDERING_KEY, PAGE, LetterSearch
from fastapi_events.storage.redis.scripts import COMMON
from fastapi_events.storage.redis.server import RedisPart, Server, in_our_words, text_of

_FIELDS = [field.name for field in fields(DeadLetter)]


_LETTERS = """
local letters, all = prefix .. 'dead:letters', prefix .. 'dead:all'
local function indexes(letter)
    local keys = {all}
    for _, field in ipairs({'subscription', 'event_name', 'handler', 'ordering_key'}) do
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
if redis.call('HLEN', letters) == 0 then redis.call('SET', prefix .. 'dead:keyed', 1) end
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
local old = redis.call('ZRANGEBYSCORE', prefix .. ARGV[5], '-inf', '(' .. ARGV[3], 'LIMIT', 0, ARGV[4])
for _, id in ipairs(old) do remove(id) end
return #old
"""
)


_NOT_INDEXED = (
    COMMON
    + _LETTERS
    + """
local grouped = 0
for _, name in ipairs(redis.call('SMEMBERS', groups)) do
    grouped = grouped + redis.call('ZCARD', prefix .. 'dead:group:' .. name)
end
local known, kept = redis.call('GET', prefix .. 'dead:keyed'), redis.call('ZCARD', all)
return (kept > grouped or (kept > 0 and not known)) and 1 or 0
"""
)

_INDEX = (
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
        text = _text(values, letter)
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
        meant = wanted or LetterFilter()
        meant = replace(
            meant,
            subscription=meant.subscription if subscription is None else subscription,
            event_name=meant.event_name if event_name is None else event_name,
        )
        letters = self._search(meant, handler, group).letters(None if after is None else read_cursor(after))
        return list(islice(_of_group(map(_letter, letters), group), limit))

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
                page = client.zrangebylex(key, f"[{prefix}", f"[{prefix}\U0010ffff", start, PAGE)
                ids = [text_of(each).rpartition("\n")[2] for each in page]
                texts = client.hmget(f"{self._server.prefix}dead:letters", ids) if ids else []
            letters = (_letter(text) for text in texts if text is not None)
            found += (each for each in letters if handler in (None, each.handler))
            if len(page) < PAGE:
                break
            start += PAGE
        return found[:limit]

    def discard(self, ids: Collection[str]) -> int:
        some = sorted(set(ids))
        return sum(
            int(self._server.run(_DISCARD, *some[begin : begin + PAGE]))
            for begin in range(0, len(some), PAGE)
        )

    def replayed(self, letters: Sequence[DeadLetter]) -> int:
        flat = [part for each in letters for part in (each.id, each.last_at.timestamp())]
        return sum(
            int(self._server.run(_REPLAYED, *flat[begin : begin + 2 * PAGE]))
            for begin in range(0, len(flat), 2 * PAGE)
        )

    def expire(self, before: datetime, *, handler: str | None = None) -> int:
        index = self._index(None, None, handler, None).removeprefix(self._server.prefix)
        count = 0
        while True:
            removed = int(self._server.run(_EXPIRE, before.timestamp(), PAGE, index))
            count += removed
            if removed < PAGE:
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
        if group is not None:
            self._index_all()
        if names.count(None) < 3 or (group is not None and handler is None):
            wanted = LetterFilter(subscription=subscription, event_name=event_name)
            found = self._search(wanted, handler, group).parts(GROUP)
            return sum(group in (None, its) for _, _, (its,) in found)
        with in_our_words():
            return int(self._server.client.zcard(self._index(subscription, event_name, handler, group)))

    def groups(
        self, *, handler: str | None = None, limit: int = 100, wanted: LetterFilter | None = None
    ) -> LetterGroups:
        self._index_all()
        meant = LetterFilter() if wanted is None else wanted
        if meant.event_name is not None or meant.looks_inside:
            sizes = _counted(self._search(meant, handler, None), meant)
        else:
            sizes = self._sizes(handler, meant)
        some = sorted(sizes, key=lambda each: (-each.count, each.name))[:limit]
        ids = [each.last_id for each in some]
        with in_our_words():
            letters = f"{self._server.prefix}dead:letters"
            texts = self._server.client.hmget(letters, ids) if ids else []
        return [
            group_like(_letter(text), count=each.count, first_at=moment(each.first_at))
            for each, text in zip(some, texts, strict=True)
            if text is not None
        ]

    def _sizes(self, handler: str | None, wanted: LetterFilter) -> Iterator[_Size]:
        """The sizes of groups that hold letters that are meant, by what the server knows of each group."""
        lowest = "-inf" if wanted.since is None else repr(wanted.since.timestamp())
        highest = "+inf" if wanted.before is None else f"({wanted.before.timestamp()!r}"
        for name, group in self._every_group(handler):
            if wanted.subscription not in (None, group.subscription) or not group.id.startswith(
                wanted.group or ""
            ):
                continue
            if (
                wanted.error is not None and wanted.error not in group.error
            ):  # it may be in the rest of a reason
                yield from _counted(LetterSearch(self._server, f"dead:group:{name}", wanted), wanted)
                continue
            key = f"{self._server.prefix}dead:group:{name}"
            with in_our_words():
                pipeline = self._server.client.pipeline(transaction=False)
                pipeline.zcount(key, lowest, highest)
                pipeline.zrangebyscore(key, lowest, highest, 0, 1, withscores=True)
                pipeline.zrevrangebyscore(key, highest, lowest, 0, 1)
                count, first, last = pipeline.execute()
            if count and first and last:
                yield _Size(name, count, first[0][1], text_of(last[0]))

    def _every_group(self, handler: str | None) -> Iterator[tuple[str, LetterGroup]]:
        """The groups, each with its key; the last letter of each says what it is like."""
        client, prefix = self._server.client, self._server.prefix
        with in_our_words():
            names = [text_of(each) for each in client.smembers(f"{prefix}dead:groups")]
            if handler is not None:
                names = [each for each in names if each.rpartition("/")[0] == handler]
            pipeline = client.pipeline(transaction=False)
            for each in names:
                pipeline.zrange(f"{prefix}dead:group:{each}", -1, -1)
            ids = {name: found[0] for name, found in zip(names, pipeline.execute(), strict=True) if found}
            texts = client.hmget(f"{prefix}dead:letters", [*ids.values()]) if ids else []
        for name, text in zip(ids, texts, strict=True):
            if text is not None:
                letter = _letter(text)
                yield name, group_like(letter, count=0, first_at=letter.last_at)

    def _index_all(self) -> None:
        """Index letters that an earlier version has kept, which knew of no groups and ordering keys."""
        if not self._server.run(_NOT_INDEXED):
            return
        with in_our_words():
            for id_, before in self._server.client.hscan_iter(
                f"{self._server.prefix}dead:letters", count=PAGE
            ):
                values = json.loads(before)
                if GROUP not in values or ORDERING_KEY not in values:
                    after = _text(values, _letter(before))
                    self._server.run(_INDEX, text_of(id_), text_of(before), after)
            self._server.client.set(f"{self._server.prefix}dead:keyed", 1)

    def _index(
        self, subscription: str | None, event_name: str | None, handler: str | None, group: str | None
    ) -> str:
        if group is not None and handler is not None:
            return f"{self._server.prefix}dead:group:{handler}/{group}"
        wanted = {"subscription": subscription, "event_name": event_name, "handler": handler}
        names = (f"dead:by:{field}:{value}" for field, value in wanted.items() if value is not None)
        return self._server.prefix + next(names, "dead:all")

    def _search(self, wanted: LetterFilter, handler: str | None, group: str | None) -> LetterSearch:
        """A search through the index that has the fewest letters, as far as can be told."""
        if group is not None or wanted.ordering_key is not None:
            self._index_all()
        if wanted.ordering_key is not None:
            index = f"dead:by:{ORDERING_KEY}:{wanted.ordering_key}"
        else:
            names = wanted.subscription, wanted.event_name, handler, group or wanted.whole_group
            index = self._index(*names).removeprefix(self._server.prefix)
        return LetterSearch(self._server, index, wanted, handler=handler)


@dataclass(frozen=True, slots=True)
class _Size:
    """How many letters of a group are meant, when the first of them was given up, and which is the last."""

    name: str
    count: int
    first_at: float
    last_id: str


def _counted(search: LetterSearch, wanted: LetterFilter) -> Iterable[_Size]:
    """The sizes of groups, letter by letter."""
    found: dict[str, _Size] = {}
    for id_, at, (handler, group, *argument) in search.parts(
        "handler", GROUP, *(("argument",) if wanted.looks_inside else ())
    ):
        if group.startswith(wanted.group or "") and all(map(wanted.means, argument)):
            name = f"{handler}/{group}"
            known = found.get(name) or _Size(name, 0, at, id_)
            found[name] = replace(known, count=known.count + 1, last_id=id_)
    return found.values()


def _of_group(letters: Iterable[DeadLetter], group: str | None) -> Iterable[DeadLetter]:
    return letters if group is None else (each for each in letters if group_id(each) == group)


def _text(values: Mapping[str, Any], letter: DeadLetter) -> str:
    """A letter as it is kept; `LetterSearch` relies on the order of its fields, and on how it is written."""
    indexed = {GROUP: group_id(letter), ORDERING_KEY: ordering_key_in(letter.argument)}
    return json.dumps({**values, **indexed}, ensure_ascii=False)


def _letter(text: Any) -> DeadLetter:
    values = json.loads(text)
    for name in (GROUP, ORDERING_KEY):  # which an earlier version did not keep
        values.pop(name, None)
    times = {name: moment(values[name]) for name in ("first_at", "last_at")}
    return DeadLetter(**values | times)
