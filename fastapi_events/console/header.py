"""What stands at the head of each page: whether anything is lost or stuck."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from fastapi_events.console.state import HandlerStatus, State
from fastapi_events.console.words import Tone, number, seconds
from fastapi_events.handlers.task_queue.depth import QueueDepth
from fastapi_events.status import Status

WINDOW = timedelta(hours=1)
"""Losses are counted for so long."""

_OLD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of the header.

    Parameters:
        name: What it counts.
        text: The number.
        tone: Its colour.
        path: The page that says more.
        explained: What it means, in a sentence.
    """

    name: str
    text: str
    tone: Tone
    path: str
    explained: str


@dataclass(frozen=True, slots=True)
class Header:
    """The figures, and what could not be asked."""

    figures: Sequence[Figure]
    troubles: Sequence[str]


async def read_header(state: State) -> Header:
    """Ask for all that stands there."""
    statuses, lost = await asyncio.gather(state.statuses(), state.lost(WINDOW))
    troubles = [each.told.trouble for each in statuses if each.told.trouble is not None]
    if lost is not None and lost.trouble is not None:
        troubles.append(lost.trouble)
    return Header([*_figures(statuses, None if lost is None else lost.value)], troubles)


def _figures(statuses: Iterable[HandlerStatus], lost: int | None) -> Iterator[Figure]:
    found = [each.told.value for each in statuses if each.told.value is not None]
    yield _count("lost", lost, "bad", "events/recent?outcome=lost", "Events lost within the last hour")
    dead = _sum([*(each.dead_letters for each in found), *(depth.dead for depth in _depths(found))])
    yield _count("dead", dead, "bad", "dead", "Messages that were given up, and wait for somebody to decide")
    delayed = _sum(each.delayed for each in _depths(found))
    yield _count(
        "retrying", delayed, "warn", "queues", "Messages that wait for another attempt, or their time"
    )
    ready = _sum(each.ready for each in _depths(found))
    yield _count("waiting", ready, "plain", "queues", "Messages that no worker has taken")
    oldest = max((each.oldest for each in _depths(found) if each.oldest is not None), default=None)
    if oldest is None and ready == 0:
        oldest = 0.0
    yield _age("oldest", oldest, "queues", "How long the event waits whose message comes next, at most")
    workers = _sum(None if each.workers is None else len(each.workers) for each in found)
    yield Figure(
        "workers", number(workers), "bad" if workers == 0 else "plain", "queues", "Live worker processes"
    )
    lag = max((each.outbox.lag for each in found if each.outbox is not None), default=None)
    yield _age("relay lag", lag, "outbox", "How long an event has been due in the outbox, at most")
    paused = None
    if any(each.workers is not None for each in found):
        paused = sum(one.state == "paused" for each in found for one in each.subscriptions)
    yield _count("paused", paused, "warn", "subscriptions?state=paused", "Subscriptions that start nothing")


def _depths(found: Iterable[Status]) -> Iterator[QueueDepth]:
    return (queue.depth for each in found for queue in each.queues)


def _sum(values: Iterable[int | None]) -> int | None:
    """The sum of what is known; None where nothing is."""
    known = [each for each in values if each is not None]
    return sum(known) if known else None


def _count(name: str, value: int | None, tone: Tone, path: str, explained: str) -> Figure:
    return Figure(name, number(value), tone if value else "plain", path, explained)


def _age(name: str, value: float | None, path: str, explained: str) -> Figure:
    tone: Tone = "warn" if value is not None and value > _OLD_SECONDS else "plain"
    return Figure(name, seconds(value), tone, path, explained)
