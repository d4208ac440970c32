"""Lanes in Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi_events.ids import random_id
from fastapi_events.storage.lanes import (
    LONGEST_UNHEARD_SECONDS,
    MAX_LANE_ITEMS,
    UNHEARD_AGAIN_SECONDS,
    UNHEARD_SECONDS,
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
    Waiting,
)
from fastapi_events.storage.redis.scripts import COMMON
from fastapi_events.storage.redis.server import RedisPart, Server, in_our_words, text_of

_LANES = (
    COMMON
    + f"""
local unheard, again, longest = {UNHEARD_SECONDS}, {UNHEARD_AGAIN_SECONDS}, {LONGEST_UNHEARD_SECONDS}
"""
    + """
local given = cjson.decode(ARGV[3])
local function open(lane) -- {destination, target, key}
    local name = table.concat(lane, '\\n')
    local it = {lane = lane, ids = prefix .. 'lane:ids:' .. name, texts = prefix .. 'lane:texts:' .. name}
    it.turn = prefix .. 'lane:turn:' .. name
    it.looks, it.member = prefix .. 'lane:looks:' .. lane[1], lane[2] .. '\\n' .. lane[3]
    local row = redis.call(
        'HMGET', it.turn, 'owner', 'changed', 'till', 'before', 'look', 'rings', 'starts', 'note')
    it.owner = row[1] or ''
    it.changed, it.till = tonumber(row[2] or 0), tonumber(row[3] or 0)
    it.before, it.look = tonumber(row[4] or 0), tonumber(row[5] or 0)
    it.rings, it.starts, it.note = tonumber(row[6] or 0), tonumber(row[7] or 0), row[8] or ''
    it.void = it.changed > now + slack -- the clock was set back meanwhile
    it.held = it.owner ~= '' and now < it.till and not it.void
    return it
end
local function save(it)
    redis.call('HSET', it.turn, 'owner', it.owner, 'changed', number(it.changed), 'till', number(it.till),
        'before', number(it.before), 'look', number(it.look), 'rings', it.rings, 'starts', it.starts,
        'note', it.note)
    redis.call('ZADD', it.looks, number(it.look), it.member)
end
local function hold(it, owner, seconds)
    it.owner, it.changed, it.till, it.look = owner, now, now + seconds, now + seconds
    save(it)
end
local function first(it)
    local text = redis.call('HGET', it.texts, redis.call('LINDEX', it.ids, 0))
    return {it.lane[1], it.lane[2], it.lane[3], string.sub(text, 1, string.find(text, '\\n', 1, true) - 1)}
end
local function is_due(it)
    return it.void or not it.held and now >= it.before and now >= it.look
end
local function ring(it)
    local pause = it.rings == 0 and unheard or again * 2 ^ (it.rings - 1)
    if it.void then it.before, it.till = 0, 0 end
    it.changed, it.look, it.rings = now, now + math.min(pause, longest), math.min(it.rings + 1, 16)
    save(it)
    return first(it)
end
local function has_room(it, items)
    local new, seen = 0, {}
    for _, item in ipairs(items) do
        if not seen[item[1]] and redis.call('HEXISTS', it.texts, item[1]) == 0 then new = new + 1 end
        seen[item[1]] = true
    end
    return new == 0 or redis.call('LLEN', it.ids) + new <= given.most
end
local function put(it, items, due)
    for _, item in ipairs(items) do
        if redis.call('HSETNX', it.texts, item[1], item[3] .. '\\n' .. item[2]) == 1 then
            redis.call('RPUSH', it.ids, item[1])
        end
    end
    if #items > 0 and is_due(it) then due[#due + 1] = ring(it) end
end
"""
)

_PUT = (
    _LANES
    + """
local due, full = {}, {}
for at, each in ipairs(given.items) do
    local it = open(each[1])
    if has_room(it, each[2]) then put(it, each[2], due) else full[#full + 1] = at end
end
return {due, full}
"""
)

_TAKE_EACH = """
local taken = {}
for at, lane in ipairs(given.lanes) do
    local it = open(lane)
    local others = it.held and it.owner ~= given.owner
    local ids = not others and (now >= it.before or it.void)
        and redis.call('LRANGE', it.ids, 0, given.limit - 1) or {}
    if #ids > 0 then
        local suspect = (it.owner ~= '' and it.owner ~= given.owner) or it.starts > 0
        it.before, it.rings = 0, 0
        hold(it, given.owner, given.seconds)
        taken[#taken + 1] = {at, it.note, suspect and 1 or 0, ids, redis.call('HMGET', it.texts, unpack(ids))}
    end
end
"""

_TAKE = _LANES + _TAKE_EACH + "return taken"

_EXTEND = (
    _LANES
    + """
local all = 1
for _, lane in ipairs(given.lanes) do
    local it = open(lane)
    if it.owner == given.owner then hold(it, given.owner, given.seconds) else all = 0 end
end
return all
"""
)

_STARTED = (
    _LANES
    + """
local it = open(given.lane)
if it.owner ~= given.owner then return 0 end
return redis.call('HINCRBY', it.turn, 'starts', 1)
"""
)

_FINISH_EACH = """
local answers = {}
for at, move in ipairs(given.moves) do
    local it, due, outcome, into = open(move[1]), {}, 'done', {}
    if it.owner ~= given.owner then outcome = 'lost' end
    for number_of, each in ipairs(move[3]) do
        into[number_of] = open(each[1])
        if not has_room(into[number_of], each[2]) and outcome == 'done' then outcome = 'full' end
    end
    if outcome == 'done' then
        for number_of, each in ipairs(move[3]) do put(into[number_of], each[2], due) end
        for _, id in ipairs(move[2]) do
            if redis.call('HDEL', it.texts, id) == 1 then redis.call('LREM', it.ids, 1, id) end
        end
    end
    local left = redis.call('LLEN', it.ids)
    if outcome == 'done' then
        if left == 0 then
            redis.call('DEL', it.turn)
            redis.call('ZREM', it.looks, it.member)
        elseif it.note ~= '' or it.starts > 0 then
            redis.call('HSET', it.turn, 'note', '', 'starts', 0)
        end
    end
    answers[at] = {outcome, left, due}
end
"""

_FINISH = _LANES + _FINISH_EACH + "return answers"
_FINISH_AND_TAKE = _LANES + _FINISH_EACH + _TAKE_EACH + "return {answers, taken}"

_RELEASE = (
    _LANES
    + """
local it = open(given.lane)
if it.owner ~= given.owner then return false end
it.owner, it.starts, it.changed, it.rings, it.before = '', 0, now, 1, 0
if given.after > 0 then it.before = now + given.after end
if given.note ~= cjson.null then it.note = given.note end
it.look = now + given.after + unheard
save(it)
return first(it)
"""
)

_DUE = (
    _LANES
    + """
local looks, due, seen = prefix .. 'lane:looks:' .. given.destination, {}, {}
local function look(from, to)
    -- More than are asked for: what is held, or waits for its time, is passed over.
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', looks, from, to, 'LIMIT', 0, given.limit + 10000)) do
        if #due >= given.limit then return end
        local cut = string.find(member, '\\n', 1, true)
        local it = open({given.destination, string.sub(member, 1, cut - 1), string.sub(member, cut + 1)})
        local early = given.unheard and not it.held and now >= it.before and now >= it.changed + unheard
        if redis.call('EXISTS', it.ids) == 0 then
            redis.call('ZREM', looks, member)
        elseif not seen[member] and (is_due(it) or early) then
            seen[member] = true
            due[#due + 1] = ring(it)
        end
    end
end
if given.unheard then look('-inf', '+inf') else look('-inf', number(now)) end
look('(' .. number(now + slack + longest), '+inf') -- the clock was set back
return due
"""
)

_HEADS = (
    _LANES
    + """
local found, looks = {}, prefix .. 'lane:looks:' .. given.destination
for _, member in ipairs(redis.call('ZRANGE', looks, 0, given.limit - 1)) do
    local cut = string.find(member, '\\n', 1, true)
    local it = open({given.destination, string.sub(member, 1, cut - 1), string.sub(member, cut + 1)})
    local id = redis.call('LINDEX', it.ids, 0)
    local kept = id and redis.call('HGET', it.texts, id)
    if kept then
        found[#found + 1] = {
            member, id, kept, redis.call('LLEN', it.ids), it.held and 1 or 0, number(it.before), it.note}
    end
end
return found
"""
)

_MISSED = (
    _LANES
    + """
for _, lane in ipairs(given.lanes) do
    local it = open(lane)
    if redis.call('EXISTS', it.ids) == 1 and not it.held then
        it.rings, it.look = math.max(it.rings - 1, 0), math.max(now, it.before)
        save(it)
    end
end
return 1
"""
)

_INCARNATION = (
    COMMON
    + """
redis.call('SET', prefix .. 'lane:incarnation', ARGV[3], 'NX')
return redis.call('GET', prefix .. 'lane:incarnation')
"""
)


class RedisLanes(RedisPart, Lanes):
    """Lanes in Redis."""

    def __init__(self, server: Server, *, max_items: int = MAX_LANE_ITEMS) -> None:
        RedisPart.__init__(self, server)
        Lanes.__init__(self, max_items=max_items)

    def put(self, items: Mapping[Lane, Sequence[Item]]) -> Placed:
        lanes = list(items)
        due, full = self._run(_PUT, items=list(items.items()), most=self.max_items)
        return Placed(list(map(_due, due)), [lanes[at - 1] for at in full])

    def take(self, lanes: Sequence[Lane], *, token: str, lease: float, limit: int) -> Sequence[Taken]:
        return _taken(lanes, self._run(_TAKE, lanes=lanes, owner=token, seconds=lease, limit=limit))

    def extend(self, lanes: Sequence[Lane], *, token: str, lease: float) -> bool:
        return bool(self._run(_EXTEND, lanes=lanes, owner=token, seconds=lease))

    def started(self, lane: Lane, *, token: str) -> int:
        return int(self._run(_STARTED, lane=lane, owner=token))

    def finish(self, moves: Sequence[Move], *, token: str) -> Sequence[Finished]:
        answers = self._run(_FINISH, moves=list(map(_given, moves)), owner=token, most=self.max_items)
        return _finished(answers)

    def finish_and_take(
        self, move: Move, lanes: Sequence[Lane], *, token: str, lease: float, limit: int
    ) -> tuple[Finished, Sequence[Taken]]:
        answers, taken = self._run(
            _FINISH_AND_TAKE, moves=[_given(move)], most=self.max_items,
            lanes=lanes, owner=token, seconds=lease, limit=limit,
        )  # fmt: skip
        [finished] = _finished(answers)
        return finished, _taken(lanes, taken)

    def release(self, lane: Lane, *, token: str, after: float = 0.0, note: str | None = None) -> Due | None:
        due = self._run(_RELEASE, lane=lane, owner=token, after=after, note=note)
        return None if due is None else _due(due)

    def due(self, destination: str, *, limit: int = 100, unheard: bool = False) -> Sequence[Due]:
        found = self._run(_DUE, destination=destination, limit=limit, unheard=unheard)
        return list(map(_due, found))

    def missed(self, lanes: Sequence[Lane]) -> None:
        self._run(_MISSED, lanes=lanes)

    def forgets(self) -> str | None:
        with in_our_words():
            if self._server.client.info("persistence").get("aof_enabled"):
                return None
        return "Redis has appendonly off: a restart costs all that came since the last snapshot"

    def incarnation(self) -> str:
        return text_of(self._server.run(_INCARNATION, random_id()))

    def find(self, destination: str, prefix: str, *, limit: int = 20) -> Sequence[Waiting]:
        client, begin = self._server.client, f"{self._server.prefix}lane:ids:"
        found = []
        with in_our_words():
            for key in client.scan_iter(match=f"{_escaped(begin + destination)}\n*", count=1_000):
                name = text_of(key).removeprefix(begin)
                for ahead, id_ in enumerate(client.lrange(key, 0, -1)):
                    if text_of(id_).startswith(prefix):
                        kept = client.hget(f"{self._server.prefix}lane:texts:{name}", id_)
                        lane = Lane(*name.split("\n", 2))
                        found += [] if kept is None else [Waiting(lane, _item(id_, kept), ahead)]
        return sorted(found)[:limit]

    def heads(self, destination: str, *, limit: int = 100) -> Sequence[Head]:
        return [
            Head(
                Lane(destination, *text_of(member).split("\n", 1)), _item(id_, kept), int(count),
                bool(is_held), float(text_of(before)), text_of(note),
            )
            for member, id_, kept, count, is_held, before, note in self._run(
                _HEADS, destination=destination, limit=limit
            )
        ]  # fmt: skip

    def count(self, destination: str) -> int:
        with in_our_words():
            return int(self._server.client.zcard(f"{self._server.prefix}lane:looks:{destination}"))

    def _run(self, script: str, **given: Any) -> Any:
        return self._server.run(script, json.dumps(given))


def _given(move: Move) -> tuple[Lane, Sequence[str], list[tuple[Lane, Sequence[Item]]]]:
    return move.lane, move.ids, list(move.into.items())


def _finished(answers: Sequence[Any]) -> list[Finished]:
    return [Finished(Outcome(text_of(outcome)), left, list(map(_due, due))) for outcome, left, due in answers]


def _taken(lanes: Sequence[Lane], answers: Sequence[Any]) -> list[Taken]:
    return [
        Taken(lanes[at - 1], list(map(_item, ids, texts)), text_of(note), bool(is_suspect))
        for at, note, is_suspect, ids, texts in answers
    ]


def _due(answer: Sequence[Any]) -> Due:
    destination, target, key, queue = map(text_of, answer)
    return Due(Lane(destination, target, key), queue)


def _item(id_: Any, kept: Any) -> Item:
    queue, _, text = text_of(kept).partition("\n")
    return Item(text_of(id_), text, queue)


def _escaped(text: str) -> str:
    """A text that stands for itself in a pattern."""
    return "".join(f"\\{each}" if each in "*?[]\\" else each for each in text)
