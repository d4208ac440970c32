"""Now: the last hour, what fails most, and what needs a person."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from itertools import islice

from starlette.requests import Request

from fastapi_events import clock
from fastapi_events.checks import counted
from fastapi_events.console.charts import Series, bars
from fastapi_events.console.header import WINDOW
from fastapi_events.console.page import Page
from fastapi_events.console.pages.doctor import examined
from fastapi_events.console.state import State
from fastapi_events.console.tallies import IN_ALL, Tallies
from fastapi_events.lives import concerns, state_of
from fastapi_events.storage.journal import Journal, JournalEvent

_MINUTES = 60
_NOTABLE = 12
_LOOKED_AT = 200


async def read(state: State, request: Request) -> Page:
    """Read the screen."""
    statuses, counts, notable, found = await asyncio.gather(
        state.statuses(),
        state.counts(WINDOW, IN_ALL),
        state.of_journals("notable", lambda journal: _notable(journal, state.names)),
        examined(state),
    )
    tallies = None if counts is None else counts.value
    latest = sorted((notable and notable.value) or (), key=lambda each: -each.last_at)[:_NOTABLE]
    problems = [
        (each.handler.name, problem)
        for each in statuses
        if each.told.value is not None
        for problem in each.told.value.problems
    ]
    return Page(
        "now", "Now", "now.html",
        {
            "has_journal": bool(state.journals), "counts": counts, "notable": notable,
            "chart": None if tallies is None else bars(_series(tallies), label=_said(tallies)),
            "failing": [] if tallies is None else tallies.failing(),
            "are_several": len(state.handlers) > 1,
            "latest": [(each, state_of(each.outcomes)) for each in latest],
            "problems": problems,
            "dangers": [
                (each.handler.name, subjects)
                for each in found
                if (subjects := [one.subject for one in each.told.value or () if one.severity == "danger"])
            ],
            "troubles": [each.told.trouble for each in found if each.told.trouble],
        },
    )  # fmt: skip


def _notable(journal: Journal, handlers: Collection[str]) -> list[JournalEvent]:
    """The last notable events of some of the handlers that share a journal."""
    own = (each for each in journal.notable(limit=_LOOKED_AT) if concerns(journal, each, handlers))
    return list(islice(own, _NOTABLE))


def _series(tallies: Tallies) -> list[Series]:
    now = clock.timestamp()
    return [
        Series(name, tallies.all.series(measure, until=now, minutes=_MINUTES))
        for name, measure in (("dispatched", "dispatched"), ("handled", "succeeded"), ("failed", "failed"))
    ]


def _said(tallies: Tallies) -> str:
    happened = tallies.all.happened
    return (
        f"The last 60 minutes: {counted(happened['dispatched'], 'event')} dispatched, "
        f"{happened['succeeded']} handled, {counted(happened['failed'], 'attempt')} failed"
    )
