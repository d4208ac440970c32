"""Dead letters that filters mean, as Redis looks for them: what is not meant does not leave the server."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from fastapi_events.storage.base import storable
from fastapi_events.storage.letters import LetterFilter
from fastapi_events.storage.redis.scripts import COMMON
from fastapi_events.storage.redis.server import Server, text_of

PAGE: Final = 500
"""Letters that are looked at in one go, while others wait for the server."""

GROUP: Final = "group"
ORDERING_KEY: Final = "ordering_key"

# Letters are written by `json.dumps`, a field after the other. Quotes that are not escaped stand around names
# and texts alone, so that a field is found by its name and the next one's, and need not be decoded.
_FOLLOWING: Final = {
    "handler": "subscription", "subscription": "queue", "event_name": "argument", "argument": "reason",
    "reason": "traceback", GROUP: ORDERING_KEY,
}  # fmt: skip

_SEARCH: Final = (
    COMMON
    + """
local index, lowest, highest, start, page = prefix .. ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local asked, given = cjson.decode(ARGV[8]), cjson.decode(ARGV[9])
local function part(text, field)
    local _, ending = string.find(text, ', "' .. field[1] .. '": ', 1, true)
    local begin = ending and string.find(text, ', "' .. field[2] .. '": ', ending, true)
    return begin and string.sub(text, ending + 1, begin - 1) or ''
end
local function says(text, one)
    for _, each in ipairs(one.texts) do
        if string.find(text, each, 1, true) then -- anywhere, as in few: only then the field is cut out
            local said = part(text, one.field)
            if one.whole and said == each or not one.whole and string.find(said, each, 1, true) then
                return true
            end
        end
    end
    return false
end
local function means(text)
    for _, one in ipairs(asked) do
        if not says(text, one) then return false end
    end
    return true
end
local range = redis.call('ZRANGEBYSCORE', index, lowest, highest, 'WITHSCORES', 'LIMIT', start, page)
local ids, answer = {}, {}
for at = 1, #range, 2 do ids[#ids + 1] = range[at] end
local texts = #ids > 0 and redis.call('HMGET', prefix .. 'dead:letters', unpack(ids)) or {}
for at, text in ipairs(texts) do
    if text and means(text) then
        local row = {ids[at], range[2 * at]}
        for _, field in ipairs(given) do row[#row + 1] = part(text, field) end
        if #given == 0 then row[3] = text end
        answer[#answer + 1] = row
    end
end
return {#ids, range[#range] or '', range[#range - 1] or '', answer}
"""
)


class LetterSearch:
    """Goes through an index of letters, page by page.

    Parameters:
        server: Where they are.
        index: The key of a sorted set of their ids, without the prefix.
        wanted: What is looked for there. What only their payloads tell has to be looked at again.
        handler: Only those of this handler.
    """

    def __init__(
        self, server: Server, index: str, wanted: LetterFilter | None = None, *, handler: str | None = None
    ) -> None:
        self._server = server
        self._index = index
        self._wanted = LetterFilter() if wanted is None else wanted
        self._asked = json.dumps([*_conditions(self._wanted, handler)])

    def letters(self, after: tuple[float, str] | None = None) -> Iterator[str]:
        """The letters as they are kept, those first that were given up first.

        Parameters:
            after: Begin behind the one that was given up then and has this id.
        """
        return (text for _, _, text in self._rows(after))

    def parts(self, *names: str) -> Iterator[tuple[str, float, list[Any]]]:
        """The id of each letter, when it was given up, and fields of it."""
        for id_, score, *texts in self._rows(None, names):
            yield id_, score, [json.loads(each) for each in texts]

    def _rows(self, after: tuple[float, str] | None, names: Iterable[str] = ()) -> Iterator[list[Any]]:
        since, before = self._wanted.since, self._wanted.before
        begin = after or (float("-inf"), "")
        if since is not None:
            begin = max(begin, (since.timestamp(), ""))
        passed = begin[0], begin[1].encode()
        highest = "+inf" if before is None else f"({before.timestamp()!r}"
        given = json.dumps([(name, _FOLLOWING[name]) for name in names])
        lowest, start = begin[0], 0
        while True:
            size, last, last_id, rows = self._server.run(
                _SEARCH, self._index, repr(lowest), highest, start, PAGE, self._asked, given
            )
            for id_, score, *texts in rows:
                if (float(score), text_of(id_).encode()) > passed:
                    yield [text_of(id_), float(score), *map(text_of, texts)]
            if size < PAGE:
                return
            # Not by the number of those that were passed: letters go while they are looked at.
            start = start + PAGE if float(last) == lowest else 0
            lowest = float(last)
            passed = max(passed, (lowest, text_of(last_id).encode()))


def _conditions(wanted: LetterFilter, handler: str | None) -> Iterator[dict[str, Any]]:
    """What a letter's fields, as they are written, are or contain."""
    whole = {"handler": handler, "subscription": wanted.subscription, "event_name": wanted.event_name}
    for field, value in whole.items():
        if value is not None:
            yield _condition(field, [f'"{_written(value)}"'], whole=True)
    if wanted.error is not None:
        yield _condition("reason", [_written(wanted.error)], whole=False)
    for texts in wanted.texts:
        yield _condition("argument", [_written(each) for each in texts], whole=False)


def _condition(field: str, texts: list[str], *, whole: bool) -> dict[str, Any]:
    return {"field": [field, _FOLLOWING[field]], "texts": texts, "whole": whole}


def _written(text: str) -> str:
    """A text as it stands inside of a letter."""
    return json.dumps(storable(text), ensure_ascii=False)[1:-1]
