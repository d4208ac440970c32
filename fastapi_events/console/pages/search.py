"""Search: by event id, correlation id, event name or ordering key."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from fastapi_events.console.page import Elsewhere, Page
from fastapi_events.console.state import State
from fastapi_events.lives import concerns, events_of, state_of
from fastapi_events.storage.journal import Journal, JournalEvent
from fastapi_events.whereabouts import Found, held, keyed

_LIMIT = 20
_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class _Known:
    """What a journal knows by a word."""

    by_id: Sequence[JournalEvent]
    chain: Sequence[JournalEvent]
    keyed: Sequence[JournalEvent]
    named: Sequence[JournalEvent]


async def read(state: State, request: Request) -> Page | Elsewhere:
    """Search, and go where there is only one event that can be meant."""
    word = request.query_params.get("q", "").strip()
    if not word:
        return Page("", "Search", "search.html", {"word": "", "sections": [], "troubles": []})
    told, kept, ordered = await asyncio.gather(
        state.of_journals(("search", word), lambda journal: [_search(journal, word, state.names)]),
        state.reads.ask("A store", ("search", word), lambda: list(held(state.handlers, word))),
        state.reads.ask("A store", ("key", word), lambda: list(keyed(state.handlers, word))),
    )
    known = (told and told.value) or []
    by_id = {event.id: event for each in known for event in each.by_id}
    chain = [event for each in known for event in each.chain]
    named = [event for each in known for event in each.named]
    with_key = {event.id: event for each in known for event in each.keyed}
    ids = {*by_id, *(each.id for each in chain), *(each.id for each in kept.value or ())}
    if len(ids) == 1 and not named and not with_key and not ordered.value:
        return Elsewhere("event", (next(iter(ids)),))
    sections = [
        ("Events whose id begins so", _lines(by_id.values())),
        ("Events that a store holds", _held_lines(kept.value or (), by_id)),
        ("Events with this correlation id", _lines(chain)),
        ("Events of this name", _lines(named)),
        ("Events with this ordering key", _keyed_lines(ordered.value or (), with_key)),
    ]
    troubles = {each.trouble for each in (told, kept, ordered) if each is not None and each.trouble}
    return Page(
        "", f"Search: {word}", "search.html",
        {
            "word": word, "sections": [each for each in sections if each[1]], "troubles": sorted(troubles),
            "has_journal": bool(state.journals),
        },
    )  # fmt: skip


def _search(journal: Journal, word: str, handlers: Collection[str]) -> _Known:
    pattern = word if "*" in word else f"{word}*"
    named, _ = events_of(journal, handlers, limit=_LIMIT, most=_LOOKED_AT, name=pattern)
    keyed, _ = events_of(journal, handlers, limit=_LIMIT, most=_LOOKED_AT, ordering_key=word)
    by_id, chain = (
        [each for each in found if concerns(journal, each, handlers)]
        for found in (journal.find(word, limit=_LIMIT), journal.chain(word, limit=_LIMIT))
    )
    return _Known(by_id, chain, keyed, named)


@dataclass(frozen=True, slots=True)
class Line:
    """An event that was found."""

    id: str
    name: str
    state: str
    at: float | None


def _lines(events: Iterable[JournalEvent]) -> list[Line]:
    return [Line(each.id, each.name, state_of(each.outcomes), each.last_at) for each in events]


def _held_lines(found: Sequence[Found], known: Mapping[str, JournalEvent]) -> list[Line]:
    return [Line(each.id, each.name or "?", each.place.where, None) for each in found if each.id not in known]


def _keyed_lines(waiting: Sequence[Found], known: Mapping[str, JournalEvent]) -> list[Line]:
    """Those first that wait, with where they do; then the rest of those that a journal knows."""
    places = {each.id for each in waiting}
    return _held_lines(waiting, {}) + _lines(each for each in known.values() if each.id not in places)
