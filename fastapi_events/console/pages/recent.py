"""Recent events: those to which something happened last, by name, outcome and age."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request

from fastapi_events import clock
from fastapi_events.console.page import Page, after_of
from fastapi_events.console.state import State
from fastapi_events.console.words import AGES
from fastapi_events.lives import events_of, state_of
from fastapi_events.storage.base import read_cursor
from fastapi_events.storage.histories import HAPPENINGS

_LIMIT = 100
_LOOKED_AT = 500
"""Events of a shared journal that one page looks at; the next page goes on behind them."""


async def read(state: State, request: Request) -> Page:
    """Read the screen."""
    asked = request.query_params
    name, outcome, age = asked.get("name") or None, asked.get("outcome") or None, asked.get("since", "")
    key = asked.get("key") or None
    if outcome is not None and outcome not in HAPPENINGS:
        raise HTTPException(400, f"outcome={outcome[:80]!r}: expected {', '.join(HAPPENINGS)}, or none.")
    if age and age not in AGES:
        raise HTTPException(400, f"since={age[:80]!r}: expected {', '.join(AGES)}, or none.")
    window = AGES.get(age)
    after = after_of(request)
    told = await state.of_journals(
        ("events", name, outcome, key, age, after),
        lambda journal: [
            events_of(
                journal,
                state.names,
                limit=_LIMIT,
                most=_LOOKED_AT,
                name=name,
                outcome=outcome,
                ordering_key=key,
                since=None if window is None else clock.now() - window,
                after=after,
            )
        ],
    )
    pages = (told and told.value) or ()
    every = (event for events, _ in pages for event in events)
    found = sorted(every, key=lambda each: -each.last_at)[:_LIMIT]
    unread = [cursor for _, cursor in pages if cursor is not None]
    following = found[-1].cursor if len(found) == _LIMIT else max(unread, key=read_cursor, default=None)
    return Page(
        "events", "Recent events", "recent.html",
        {
            "told": told, "events": [(each, state_of(each.outcomes)) for each in found],
            "name": name or "", "outcome": outcome or "", "since": age,
            "ordering_key": key or "",
            "outcomes": HAPPENINGS, "ages": list(AGES),
            "following": following,
        },
    )  # fmt: skip
