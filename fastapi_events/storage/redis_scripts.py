"""What `storage.redis` has the server do, in Lua.

A script's first arguments are the prefix of all keys and the time, which is the server's if it is empty.
Numbers are formatted by hand: Lua would round them to 14 digits. Under memory pressure Redis refuses a script
at its first write or lets it finish, so that nothing is done by halves.

Keys, behind the prefix:

    inbox:KEY                hash: owner, from, till, done
    dead:letters             hash: id to letter (JSON)
    dead:all                 sorted set: ids by time of burial; likewise
    dead:by:FIELD:VALUE      for each subscription, event_name and handler
    lane:ids:LANE            list: ids, the head first
    lane:texts:LANE          hash: id to text
    lane:hold:LANE           hash: owner, from, till of the head
    lane:heads               sorted set: lanes by the time at which their heads came there
"""

from __future__ import annotations

from fastapi_events.storage.base import CLOCK_SLACK_SECONDS

_COMMON = f"""
local prefix, slack = ARGV[1], {CLOCK_SLACK_SECONDS}
local now = tonumber(ARGV[2])
if not now then
    local time = redis.call('TIME')
    now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local function number(value) return string.format('%.6f', value) end
local function read(key)
    local row = redis.call('HMGET', key, 'owner', 'from', 'till', 'done')
    local hold = {{owner = row[1], done = row[4] == '1'}}
    hold.from, hold.till = tonumber(row[2] or 0), tonumber(row[3] or 0)
    hold.lasts = row[1] and hold.from - slack <= now and now < hold.till
    return hold
end
local function take(key, owner, seconds, done)
    redis.call('HSET', key, 'owner', owner, 'from', number(now), 'till', number(now + seconds), 'done', done)
end
"""

_INBOX = """
local key, owner, seconds = prefix .. 'inbox:' .. ARGV[3], ARGV[4], tonumber(ARGV[5])
local hold = read(key)
-- The server forgets it a little later, so that a clock that was set back a little does no harm.
local function keep(done)
    take(key, owner, seconds, done)
    redis.call('PEXPIRE', key, string.format('%.0f', math.min(seconds + slack, 1e10) * 1000))
end
"""

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

_LANE = """
local lane, id, owner, seconds = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local ids, texts = prefix .. 'lane:ids:' .. lane, prefix .. 'lane:texts:' .. lane
local held, heads = prefix .. 'lane:hold:' .. lane, prefix .. 'lane:heads'
local head = redis.call('LINDEX', ids, 0)
"""

SCRIPTS = {
    "inbox_begin": _COMMON
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
""",
    "inbox_extend": _COMMON
    + _INBOX
    + """
if hold.owner ~= owner or hold.done then return 0 end
keep('0')
return 1
""",
    "inbox_complete": _COMMON
    + _INBOX
    + """
if hold.owner and hold.owner ~= owner then return 0 end
keep('1')
return 1
""",
    "inbox_release": _COMMON
    + _INBOX
    + """
if hold.owner == owner and not hold.done then redis.call('DEL', key) end
return 1
""",
    "dead_bury": _COMMON
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
""",
    "dead_discard": _COMMON
    + _LETTERS
    + """
local count = 0
for argument = 3, #ARGV do count = count + remove(ARGV[argument]) end
return count
""",
    "dead_replayed": _COMMON
    + _LETTERS
    + """
local count = 0
for argument = 3, #ARGV, 2 do
    local buried = redis.call('ZSCORE', all, ARGV[argument])
    if buried and tonumber(buried) == tonumber(ARGV[argument + 1]) then
        count = count + remove(ARGV[argument])
    end
end
return count
""",
    "dead_expire": _COMMON
    + _LETTERS
    + """
local old = redis.call('ZRANGEBYSCORE', all, '-inf', '(' .. ARGV[3], 'LIMIT', 0, ARGV[4])
for _, id in ipairs(old) do remove(id) end
return #old
""",
    "lane_push": _COMMON
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
""",
    "lane_enter": _COMMON
    + _LANE
    + """
if redis.call('HEXISTS', texts, id) == 0 then return {'gone', '0'} end
if head ~= id then return {'waiting', '0'} end
local hold = read(held)
if hold.lasts and hold.owner ~= owner then return {'busy', number(hold.till - now)} end
take(held, owner, seconds, '0')
return {'head', '0'}
""",
    "lane_extend": _COMMON
    + _LANE
    + """
if head ~= id or read(held).owner ~= owner then return 0 end
take(held, owner, seconds, '0')
return 1
""",
    "lane_release": _COMMON
    + _LANE
    + """
if head == id and read(held).owner == owner then redis.call('DEL', held) end
return 1
""",
    "lane_leave": _COMMON
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
""",
    "lane_stalled": _COMMON
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
""",
}
