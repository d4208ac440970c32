"""Lanes: keys whose events wait for one another, and the error at their head."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from fastapi_events import clock
from fastapi_events.console.page import Page
from fastapi_events.console.reads import Told
from fastapi_events.console.state import State
from fastapi_events.envelope import unseal
from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.event import Event, wire_name
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.storage.journal import Journal
from fastapi_events.storage.lanes import Head, Lanes

_LIMIT = 200
_WITH_ERRORS = 25


@dataclass(frozen=True, slots=True)
class Row:
    """A lane, as it is shown.

    Parameters:
        head: What stands at its head.
        name: The name of that event; None where it cannot be read.
        since: When it was dispatched; seconds since 1970.
        state: `running`, `retried` or `waiting`.
    """

    head: Head
    name: str | None
    since: float | None
    state: str


@dataclass(frozen=True, slots=True)
class LanesShown:
    """The lanes of a handler; None where it keeps no order."""

    handler: TaskQueueHandler
    told: Told[list[Row]] | None


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
    rows = [row for each in found if each.told is not None for row in (each.told.value or ())[:_WITH_ERRORS]]
    heads = tuple((each.head.item.id, each.head.lane.target) for each in rows)
    errors = await state.of_journals(("errors", heads), lambda journal: list(_errors(journal, heads)))
    return Page(
        "lanes", "Lanes", "lanes.html",
        {
            "found": found, "limit": _LIMIT, "errors": dict((errors and errors.value) or ()),
            "trouble": errors and errors.trouble,
        },
    )  # fmt: skip


def _reading(lanes: Lanes, handler: str) -> Callable[[], list[Row]]:
    return lambda: _rows(lanes.heads(handler, limit=_LIMIT))


def _rows(heads: Sequence[Head]) -> list[Row]:
    """The lanes, those first that have waited longest."""
    now = clock.timestamp()
    rows = [_row(each, now) for each in heads]
    return sorted(rows, key=lambda each: (each.since or now, -each.head.size, each.head.lane))


def _row(head: Head, now: float) -> Row:
    event = _event(head.item.text)
    state = "running" if head.is_held else "retried" if head.not_before > now else "waiting"
    if event is None:
        return Row(head, None, None, state)
    return Row(head, wire_name(event.name), event.dispatched_at.timestamp(), state)


def _event(text: str) -> Event | None:
    try:
        return unseal(text)
    except UnreadableEnvelope:
        return None


def _errors(journal: Journal, heads: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Why the last attempt at each head has failed, by its id."""
    for id_, target in heads:
        failed = [
            each.error
            for each in journal.records(id_)
            if each.error is not None and each.subscription == target
        ]
        if failed:
            yield id_, failed[-1]
