"""The catalogue in Redis: one hash for each handler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi_events.storage.catalogue import Catalogue, Decision, Fields
from fastapi_events.storage.redis.scripts import COMMON
from fastapi_events.storage.redis.server import RedisPart, text_of

# Numbers as they were read, so that what another process has changed meanwhile is noticed.
_READ = (
    COMMON
    + """
return {number(now), redis.call('HGETALL', prefix .. 'catalogue:' .. ARGV[3])}
"""
)

_CHANGE = (
    COMMON
    + """
local key = prefix .. 'catalogue:' .. ARGV[3]
local expected, removed = tonumber(ARGV[4]), tonumber(ARGV[5])
if (tonumber(redis.call('HGET', key, 'revision') or '0')) ~= expected then return 0 end
redis.call('HSET', key, 'revision', string.format('%.0f', expected + 1))
for argument = 6, 5 + removed do redis.call('HDEL', key, ARGV[argument]) end
for argument = 6 + removed, #ARGV, 2 do redis.call('HSET', key, ARGV[argument], ARGV[argument + 1]) end
return 1
"""
)

_TOUCH = (
    COMMON
    + """
local key = prefix .. 'catalogue:' .. ARGV[3]
if redis.call('HEXISTS', key, ARGV[4]) == 0 then return 0 end
for argument = 5, #ARGV do redis.call('HSET', key, ARGV[argument], number(now)) end
return 1
"""
)


class RedisCatalogue(RedisPart, Catalogue):
    """A catalogue in Redis.

    Who changes it has read it before; where somebody else has changed it since, it is read once more.
    """

    def _change(self, destination: str, decide: Decision) -> None:
        while True:
            found, now = self._read(destination)
            change = decide(found, now)
            if change is None:
                return
            removed = list(change.remove)
            put = [part for item in change.put.items() for part in item]
            revision = found.get("revision", "0")
            if self._server.run(_CHANGE, destination, revision, len(removed), *removed, *put):
                return

    def _touch(self, destination: str, required: str, names: Sequence[str]) -> bool:
        return bool(self._server.run(_TOUCH, destination, required, *names))

    def _read(self, destination: str) -> tuple[Fields, float]:
        now, flat = self._server.run(_READ, destination)
        texts: list[Any] = [text_of(each) for each in flat]
        return dict(zip(texts[::2], texts[1::2], strict=True)), float(text_of(now))
