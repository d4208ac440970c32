"""Lanes in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi_events.errors import StorageFull
from fastapi_events.storage.base import GONE, HEAD, WAITING, Busy
from fastapi_events.storage.lanes import MAX_LANE_ITEMS, Entered, Item, Lanes
from fastapi_events.storage.redis.scripts import COMMON
from fastapi_events.storage.redis.server import RedisPart, Server, text_of

_LANE = """
local lane, id, owner, seconds = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local ids, texts = prefix .. 'lane:ids:' .. lane, prefix .. 'lane:texts:' .. lane
local held, heads = prefix .. 'lane:hold:' .. lane, prefix .. 'lane:heads'
local head = redis.call('LINDEX', ids, 0)
"""


_PUSH = (
    COMMON
    + _LANE
    + """
local new, seen = {}, {}
for argument = 5, #ARGV, 2 do
    local each = ARGV[argument]
    if not seen[each] and redis.call('HEXISTS', texts, each) == 0 then new[#new + 1] = argument end
    seen[each] = true
end
if #new > 0 and redis.call('LLEN', ids) + #new > tonumber(ARGV[4]) then return -1 end
for _, argument in ipairs(new) do
    redis.call('HSET', texts, ARGV[argument], ARGV[argument + 1])
    redis.call('RPUSH', ids, ARGV[argument])
end
if not head and #new > 0 then
    head = ARGV[new[1]]
    redis.call('ZADD', heads, number(now), lane)
end
return head and seen[head] and head or false
"""
)

_ENTER = (
    COMMON
    + _LANE
    + """
if redis.call('HEXISTS', texts, id) == 0 then return {'gone', '0'} end
if head ~= id then return {'waiting', '0'} end
local hold = read(held)
if hold.lasts and hold.owner ~= owner then return {'busy', number(hold.till - now)} end
take(held, owner, seconds, '0')
return {'head', '0'}
"""
)

_EXTEND = (
    COMMON
    + _LANE
    + """
if head ~= id or read(held).owner ~= owner then return 0 end
take(held, owner, seconds, '0')
return 1
"""
)

_RELEASE = (
    COMMON
    + _LANE
    + """
if head == id and read(held).owner == owner then redis.call('DEL', held) end
return 1
"""
)

_LEAVE = (
    COMMON
    + _LANE
    + """
if redis.call('HEXISTS', texts, id) == 1 then
    local hold = read(held)
    if head ~= id or (hold.owner and hold.owner ~= owner) then return false end
    redis.call('LPOP', ids)
    redis.call('HDEL', texts, id)
    redis.call('DEL', held)
    head = redis.call('LINDEX', ids, 0)
    if head then
        redis.call('ZADD', heads, number(now), lane)
    else
        redis.call('ZREM', heads, lane)
    end
end
if not head then return false end
return {head, redis.call('HGET', texts, head)}
"""
)

_STALLED = (
    COMMON
    + """
local heads, limit, only, found = prefix .. 'lane:heads', tonumber(ARGV[4]), ARGV[5], {}
local function look(lane)
    if #found < limit and not read(prefix .. 'lane:hold:' .. lane).lasts then
        local id = redis.call('LINDEX', prefix .. 'lane:ids:' .. lane, 0)
        found[#found + 1] = {lane, id, redis.call('HGET', prefix .. 'lane:texts:' .. lane, id)}
    end
end
local waited, ahead = now - tonumber(ARGV[3]), now + slack -- ahead: the clock was set back meanwhile
if only ~= '' then
    local since = tonumber(redis.call('ZSCORE', heads, only) or now)
    if since < waited or since > ahead then look(only) end
    return found
end
for _, lane in ipairs(redis.call('ZRANGEBYSCORE', heads, '-inf', '(' .. number(waited))) do look(lane) end
for _, lane in ipairs(redis.call('ZRANGEBYSCORE', heads, '(' .. number(ahead), '+inf')) do look(lane) end
return found
"""
)


class RedisLanes(RedisPart, Lanes):
    """Lanes in Redis."""

    def __init__(self, server: Server, *, max_items: int = MAX_LANE_ITEMS) -> None:
        RedisPart.__init__(self, server)
        Lanes.__init__(self, max_items=max_items)

    def push(self, lane: str, items: Sequence[Item]) -> str | None:
        flat = [part for item in items for part in item]
        answer = self._server.run(_PUSH, lane, self.max_items, *flat)
        if answer == -1:
            raise StorageFull(f"The lane {lane!r} has no room for more than {self.max_items} items.")
        return None if answer is None else text_of(answer)

    def enter(self, lane: str, id: str, *, token: str, lease: float) -> Entered:  # noqa: A002
        answer, seconds = self._server.run(_ENTER, lane, id, token, lease)
        found = text_of(answer)
        if found == "busy":
            return Busy(float(seconds))
        return HEAD if found == "head" else WAITING if found == "waiting" else GONE

    def extend(self, lane: str, id: str, *, token: str, lease: float) -> bool:  # noqa: A002
        return bool(self._server.run(_EXTEND, lane, id, token, lease))

    def release(self, lane: str, id: str, *, token: str) -> None:  # noqa: A002
        self._server.run(_RELEASE, lane, id, token)

    def leave(self, lane: str, id: str, *, token: str) -> Item | None:  # noqa: A002
        return _item(self._server.run(_LEAVE, lane, id, token))

    def stalled(
        self, *, older_than: float, limit: int = 100, lane: str | None = None
    ) -> list[tuple[str, str, str]]:
        found = self._server.run(_STALLED, older_than, limit, lane or "")
        return [(text_of(name), text_of(id_), text_of(text)) for name, id_, text in found]


def _item(answer: Any) -> Item | None:
    return (text_of(answer[0]), text_of(answer[1])) if answer else None
