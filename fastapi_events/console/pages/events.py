"""Events: for each name how many, who listens, how late they start, and what does not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from fastapi_events import clock
from fastapi_events.console.header import WINDOW
from fastapi_events.console.page import Page
from fastapi_events.console.state import HandlerFleet, State
from fastapi_events.console.tallies import OF_EVENTS, Tally
from fastapi_events.event import wire_name
from fastapi_events.registry.payload_schema import registry
from fastapi_events.status.listings import (
    idle_patterns,
    index_of,
    listings_of,
    registered_names,
    unheard_names,
)
from fastapi_events.storage.catalogue import Listing

_MINUTES = 60


@dataclass(frozen=True, slots=True)
class NamedEvents:
    """The events of one name.

    Parameters:
        name: Their name.
        tally: What was counted; None where there is no journal.
        series: How many were dispatched in each minute.
        listeners: Who listens to them.
        schema: The name of the schema that is registered for them.
    """

    name: str
    tally: Tally | None
    series: Sequence[int]
    listeners: Sequence[Listing]
    schema: str | None


async def read(state: State, request: Request) -> Page:
    """Read the screen."""
    fleets, counts = await asyncio.gather(state.fleets(), state.counts(WINDOW, OF_EVENTS))
    tallies = None if counts is None else counts.value
    listings = every_listing(fleets)
    schemas = {wire_name(name): schema.__name__ for name, schema in registry.items()}
    names = sorted({*registered_names(), *(() if tallies is None else tallies.events)})
    now, index = clock.timestamp(), index_of(listings)
    found = []
    for name in names:
        tally = None if tallies is None else tallies.events.get(name, Tally())
        series = [] if tally is None else tally.series("dispatched", until=now, minutes=_MINUTES)
        listeners = [*{each.name: each for each in index.match(name)}.values()]
        found.append(NamedEvents(name, tally, series, listeners, schemas.get(name)))
    return Page(
        "events", "Events", "events.html",
        {
            "events": found, "counts": counts, "troubles": troubles_of(fleets),
            "unheard": unheard_names(listings, names), "idle": idle_patterns(listings, names),
        },
    )  # fmt: skip


def every_listing(fleets: Sequence[HandlerFleet]) -> list[Listing]:
    """The functions of all handlers."""
    return [listing for each in fleets for listing in listings_of(each.handler, each.told.value)]


def troubles_of(fleets: Sequence[HandlerFleet]) -> list[str]:
    """What could not be asked."""
    return [each.told.trouble for each in fleets if each.told.trouble is not None]
