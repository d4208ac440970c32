"""Outbox: events that have not arrived yet, and those that are to be sent later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from starlette.requests import Request

from fastapi_events import clock
from fastapi_events.console.page import Page, after_of
from fastapi_events.console.reads import Told
from fastapi_events.console.state import State
from fastapi_events.envelope import unseal
from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.event import wire_name
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.storage.outbox import Entry, Outbox, OutboxStatus, read_place

_LIMIT = 100

Answer: TypeAlias = "tuple[OutboxStatus, list[Row], str | None]"


@dataclass(frozen=True, slots=True)
class Row:
    """An entry, as it is shown.

    Parameters:
        entry: The entry.
        name: The event's name; None where it cannot be read.
        is_scheduled: Whether it is to be sent later.
        dispatched_at: When the event was dispatched; seconds since 1970.
    """

    entry: Entry
    name: str | None
    is_scheduled: bool
    dispatched_at: float | None


@dataclass(frozen=True, slots=True)
class OutboxShown:
    """An outbox, the handlers that share it, and what it holds."""

    handlers: Sequence[TaskQueueHandler]
    told: Told[Answer]


async def read(state: State, request: Request) -> Page:
    """Read the screen."""
    after = after_of(request, read_place)
    shared: dict[int, tuple[Outbox, list[TaskQueueHandler]]] = {}
    for each in state.handlers:
        if each.outbox is not None:
            shared.setdefault(id(each.outbox), (each.outbox, []))[1].append(each)
    told = await asyncio.gather(
        *(
            state.reads.ask(
                f"The outbox of {', '.join(each.name for each in handlers)}",
                ("entries", after),
                _reading(outbox, {each.name for each in handlers}, after),
            )
            for outbox, handlers in shared.values()
        )
    )
    found = [OutboxShown(handlers, each) for (_, handlers), each in zip(shared.values(), told, strict=True)]
    return Page("outbox", "Outbox", "outbox.html", {"outboxes": found, "after": after or ""})


def _reading(outbox: Outbox, names: Collection[str], after: str | None) -> Callable[[], Answer]:
    def ask() -> Answer:
        now = clock.timestamp()
        entries = outbox.list(limit=_LIMIT, after=after)
        following = entries[-1].cursor if len(entries) == _LIMIT else None
        return outbox.status(), [_row(each, now) for each in entries if each.destination in names], following

    return ask


def _row(entry: Entry, now: float) -> Row:
    is_scheduled = entry.due is not None and entry.due.timestamp() > now
    try:
        event = unseal(entry.envelope)
    except UnreadableEnvelope:
        return Row(entry, None, is_scheduled, None)
    return Row(entry, wire_name(event.name), is_scheduled, event.dispatched_at.timestamp())
