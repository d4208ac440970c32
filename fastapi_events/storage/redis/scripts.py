"""What all scripts share that `storage.redis` has the server do, in Lua.

A script's first arguments are the prefix of all keys and the time, which is the server's if it is empty.
Numbers are formatted by hand: Lua would round them to 14 digits. Under memory pressure Redis refuses a script
at its first write or lets it finish, so that nothing is done by halves.

Keys, behind the prefix:

    inbox:KEY                hash: owner, from, till, done
    dead:letters             hash: id to letter (JSON)
    dead:all                 sorted set: ids by the time at which they were given up; likewise
    dead:by:FIELD:VALUE      for each subscription, event_name, handler and ordering_key
    dead:keyed               string: set, since all letters are indexed by their ordering keys
    dead:events              sorted set: event id, line break, letter id of each, by their letters
    dead:groups              set: HANDLER/GROUP of each group of letters
    dead:group:HANDLER/GROUP sorted set: like dead:all
    lane:ids:LANE            list: ids, the first one first
    lane:texts:LANE          hash: id to queue, line break, text
    lane:turn:LANE           hash: owner, changed, till, before, look, rings, starts, note
    lane:looks:DESTINATION   sorted set: lanes by the time at which their bells have to be rung
    lane:incarnation         string: a random name
    catalogue:DESTINATION    hash: fields to JSON, see docs/wire.md
    journal:event:ID         hash: name, first, last, outcomes, cause, correlation, payload,
                             ordering_key
    journal:records:ID       list: records (JSON)
    journal:ids              sorted set: ids, by their letters
    journal:ordinary         sorted set: ids of events that went well, by the last that happened to them
    journal:notable          sorted set: likewise, of the others
    journal:chain:ID         sorted set: ids of a correlation, by the first that happened to them
    journal:lane:KEY         sorted set: ids of an ordering key, by the last that happened to them
    journal:actions          list: what people did (JSON), the latest first
    journal:minutes          sorted set: minutes of which there are counts
    journal:minute:MINUTE    hash: what is counted (JSON) to its count
"""

from __future__ import annotations

from fastapi_events.storage.base import CLOCK_SLACK_SECONDS

COMMON = f"""
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
