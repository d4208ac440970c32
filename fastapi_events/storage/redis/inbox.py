"""The inbox in Redis."""

from __future__ import annotations

from fastapi_events.storage.base import DONE, NEW, Busy
from fastapi_events.storage.inbox import Begun, Inbox
from fastapi_events.storage.redis.scripts import COMMON
from fastapi_events.storage.redis.server import RedisPart, text_of

_INBOX = """
local key, owner, seconds = prefix .. 'inbox:' .. ARGV[3], ARGV[4], tonumber(ARGV[5])
local hold = read(key)
-- The server forgets it a little later, so that a clock that was set back a little does no harm.
local function keep(done)
    take(key, owner, seconds, done)
    redis.call('PEXPIRE', key, string.format('%.0f', math.min(seconds + slack, 1e10) * 1000))
end
"""


_BEGIN = (
    COMMON
    + _INBOX
    + """
if hold.owner then
    if hold.done and now < hold.till then return {'done', '0'} end
    if not hold.done and hold.owner ~= owner and hold.lasts then
        return {'busy', number(hold.till - now)}
    end
end
keep('0')
return {'new', '0'}
"""
)

_EXTEND = (
    COMMON
    + _INBOX
    + """
if hold.owner ~= owner or hold.done then return 0 end
keep('0')
return 1
"""
)

_COMPLETE = (
    COMMON
    + _INBOX
    + """
if hold.owner and hold.owner ~= owner then return 0 end
keep('1')
return 1
"""
)

_RELEASE = (
    COMMON
    + _INBOX
    + """
if hold.owner == owner and not hold.done then redis.call('DEL', key) end
return 1
"""
)


class RedisInbox(RedisPart, Inbox):
    """An inbox in Redis; the server itself forgets what need not be remembered."""

    def begin(self, key: str, *, token: str, lease: float) -> Begun:
        answer, seconds = self._server.run(_BEGIN, key, token, lease)
        found = text_of(answer)
        return NEW if found == "new" else DONE if found == "done" else Busy(float(seconds))

    def extend(self, key: str, *, token: str, lease: float) -> bool:
        return bool(self._server.run(_EXTEND, key, token, lease))

    def complete(self, key: str, *, token: str, keep: float) -> bool:
        return bool(self._server.run(_COMPLETE, key, token, keep))

    def release(self, key: str, *, token: str) -> None:
        self._server.run(_RELEASE, key, token)

    def expire(self) -> int:
        return 0
