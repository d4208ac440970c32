"""Lanes: keys whose events wait for one another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from fastapi_events.console.page import Page
from fastapi_events.console.reads import Told
from fastapi_events.console.state import State
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.storage.lanes import Lane, Lanes, Waiting

_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class LaneShown:
    """A lane with how many wait in it.

    Parameters:
        lane: Which one.
        count: How many wait, as far as was looked.
        head: The id of the event at its head.
    """

    lane: Lane
    count: int
    head: str


@dataclass(frozen=True, slots=True)
class LanesShown:
    """The lanes of a handler; None where it keeps no order."""

    handler: TaskQueueHandler
    told: Told[list[LaneShown]] | None


async def read(state: State, request: Request) -> Page:
    """Read the screen."""

    async def shown(handler: TaskQueueHandler) -> LanesShown:
        if handler.lanes is None:
            return LanesShown(handler, None)
        told = await state.reads.ask(
            f"The lanes of {handler.name}", "lanes", _reading(handler.lanes, handler.name)
        )
        return LanesShown(handler, told)

    found = await asyncio.gather(*map(shown, state.handlers))
    return Page("lanes", "Lanes", "lanes.html", {"found": found, "limit": _LIMIT})


def _reading(lanes: Lanes, handler: str) -> Callable[[], list[LaneShown]]:
    return lambda: _lanes_of(lanes.find(handler, "", limit=_LIMIT))


def _lanes_of(waiting: Sequence[Waiting]) -> list[LaneShown]:
    found: dict[Lane, LaneShown] = {}
    for each in waiting:
        known = found.get(each.lane)
        head = each.item.id if known is None or each.ahead == 0 else known.head
        found[each.lane] = LaneShown(each.lane, max(each.ahead + 1, known.count if known else 0), head)
    return sorted(found.values(), key=lambda each: (-each.count, each.lane))
