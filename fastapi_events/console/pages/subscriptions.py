"""Subscriptions: pattern, function, queue, policy; how they fare, and which are paused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

from fastapi_events.console.header import WINDOW
from fastapi_events.console.page import Page
from fastapi_events.console.pages.events import troubles_of
from fastapi_events.console.state import HandlerFleet, HandlerStatus, State
from fastapi_events.console.tallies import OF_SUBSCRIPTIONS, Tallies, Tally
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.status.listings import listings_of
from fastapi_events.storage.catalogue import Listing, Pause

STATES = ("running", "paused", "failing", "nobody", "unknown")


@dataclass(frozen=True, slots=True)
class Row:
    """A subscription with how it fares.

    Parameters:
        handler: Whose it is.
        listing: What it listens to, and how.
        state: As `status` says.
        workers: How many live workers run it; None where nobody can tell.
        pause: Since when and until when it is paused.
        tally: What was counted; None where there is no journal.
    """

    handler: TaskQueueHandler
    listing: Listing
    state: str
    workers: int | None
    pause: Pause | None
    tally: Tally | None

    @property
    def in_flight(self) -> int | None:
        """How many of its calls have started within the hour, and not ended."""
        if self.tally is None:
            return None
        happened = self.tally.happened
        return max(happened["started"] - happened["succeeded"] - happened["failed"], 0)


async def read(state: State, request: Request) -> Page:
    """Read the screen."""
    wanted = request.query_params.get("state", "")
    if wanted and wanted not in STATES:
        raise HTTPException(400, f"state={wanted[:80]!r}: expected {', '.join(STATES)}, or none.")
    fleets, statuses, counts = await asyncio.gather(
        state.fleets(), state.statuses(), state.counts(WINDOW, OF_SUBSCRIPTIONS)
    )
    tallies = None if counts is None else counts.value
    by_name = {each.handler.name: each for each in statuses}
    rows = [row for each in fleets for row in _rows(each, by_name[each.handler.name], tallies)]
    shown = [each for each in rows if each.state == wanted] if wanted else rows
    return Page(
        "subscriptions", "Subscriptions", "subscriptions.html",
        {
            "rows": shown, "all": len(rows), "state": wanted,
            "counts": counts, "troubles": troubles_of(fleets), "states": STATES,
        },
    )  # fmt: skip


def _rows(fleet: HandlerFleet, status: HandlerStatus, tallies: Tallies | None) -> Iterator[Row]:
    known = {} if status.told.value is None else {each.name: each for each in status.told.value.subscriptions}
    pauses = {} if fleet.told.value is None else {each.subscription: each for each in fleet.told.value.paused}
    for listing in listings_of(fleet.handler, fleet.told.value):
        one = known.get(listing.name)
        of = fleet.handler.name, listing.name
        yield Row(
            fleet.handler,
            listing,
            "paused" if listing.name in pauses else "unknown" if one is None else one.state,
            None if one is None else one.workers,
            pauses.get(listing.name),
            None if tallies is None else tallies.subscriptions.get(of, Tally()),
        )
