"""`fastapi-events status`: queues, workers, functions and stores at a glance."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi_events.bounded_call import made_at_once
from fastapi_events.checks import counted
from fastapi_events.cli.arguments import add_command
from fastapi_events.cli.event_tree import seconds
from fastapi_events.cli.text import local, painted, say, say_json, shown, table
from fastapi_events.inspection import handlers_in
from fastapi_events.status import QueueStatus, Status, StatusReader, SubscriptionStatus
from fastapi_events.storage.catalogue import Worker

_QUEUES = ("QUEUE", "READY", "IN HAND", "DELAYED", "DEAD", "OLDEST", "CONSUMERS", "WORKERS")
_SUBSCRIPTIONS = ("FUNCTION", "STATE", "LISTENS TO", "QUEUE", "WORKERS", "SUCCEEDED", "FAILED")

_WATCH_SECONDS = 2.0
_NAMED = 3
_IDLE_SECONDS = 5.0
"""A relay that has nothing to do looks every second."""
_CLEAR = "\x1b[H\x1b[2J"
_UNKNOWN = "-"


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    parser = add_command(
        commands, "status", _run, "show queues, workers, functions, stores; exits 1 where a person is needed",
        examples="""
        fastapi-events status app.handlers
        fastapi-events status app.handlers --watch
        fastapi-events status app.handlers:events --json | jq -r '.problems[]'
        """,
    )  # fmt: skip
    parser.add_argument("--watch", action="store_true", help="show it every 2 s, until it is interrupted")


def _run(arguments: argparse.Namespace) -> int:
    readers = [StatusReader(each) for each in handlers_in(arguments.target)]
    while True:
        found = made_at_once([each.read for each in readers])
        text = _CLEAR if arguments.watch and not arguments.json and sys.stdout.isatty() else ""
        if arguments.json:
            is_read = all(say_json(_data(each)) for each in found)
        else:
            is_read = say(text + "\n\n".join("\n".join(_lines(each)) for each in found))
        if not arguments.watch or not is_read:
            return 1 if any(each.problems for each in found) else 0
        time.sleep(_WATCH_SECONDS)


def _data(status: Status) -> dict[str, Any]:
    return {
        **asdict(status),
        "at": datetime.fromtimestamp(status.at, tz=UTC),
        "queues": [
            {
                **asdict(each.depth),
                "is_consumed": each.is_consumed,
                "workers": None if each.workers is None else [*map(_spelled, each.workers)],
            }
            for each in status.queues
        ],
    }


def _lines(status: Status) -> Iterator[str]:
    yield f"{status.handler}  {local(datetime.fromtimestamp(status.at, tz=UTC))}"
    yield ""
    yield from _table(
        _QUEUES, [_queue_row(each) for each in status.queues],
        ["red" if each.is_consumed is False else None for each in status.queues],
    )  # fmt: skip
    yield ""
    if status.subscriptions:
        rows = [_subscription_row(each) for each in status.subscriptions]
        yield from _table(
            _SUBSCRIPTIONS, rows, ["red" if each.state == "nobody" else None for each in status.subscriptions]
        )
    else:
        yield "Nobody listens."
    yield ""
    yield from _stores(status)
    if status.problems or status.notes:
        yield ""
        for each in status.problems:
            yield painted(shown(each), "red")
        yield from map(shown, status.notes)


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], colours: Sequence[str | None]
) -> Iterator[str]:
    """Rows in colours, which take no room in the columns."""
    first, *others = table(head, rows).split("\n")
    yield first
    for line, colour in zip(others, colours, strict=True):
        yield line if colour is None else painted(line, colour)


def _queue_row(status: QueueStatus) -> Sequence[str]:
    depth = status.depth
    counts = (depth.ready, depth.in_hand, depth.delayed, depth.dead)
    return (
        shown(depth.queue), *map(_number, counts),
        _UNKNOWN if depth.oldest is None else seconds(depth.oldest),
        _number(depth.consumers), _workers(status.workers),
    )  # fmt: skip


def _subscription_row(status: SubscriptionStatus) -> Sequence[str]:
    return (
        shown(status.name, 50), status.state, shown(", ".join(status.patterns), 40), shown(status.queue),
        _number(status.workers), _number(status.succeeded), _number(status.failed),
    )  # fmt: skip


def _stores(status: Status) -> Iterator[str]:
    outbox = status.outbox
    if outbox is not None:
        oldest = "" if outbox.oldest is None else f", the oldest for {seconds(outbox.oldest)}"
        yield (
            f"Outbox        {outbox.waiting} waiting, {outbox.claimed} being published, "
            f"{outbox.unconfirmed} without all receipts{oldest}"
        )
        yield from _relays(status)
    if status.lanes is not None:
        oldest = "" if status.lanes.oldest is None else f", the oldest for {seconds(status.lanes.oldest)}"
        waiting = "wait" if status.lanes.lanes != 1 else "waits"
        yield f"Lanes         {counted(status.lanes.lanes, 'key')} {waiting}{oldest}"
    if status.dead_letters is not None:
        yield f"Dead letters  {status.dead_letters}"
    if status.workers is None:
        yield "Workers       there is no catalogue that says which there are"
    else:
        yield f"Workers       {len(status.workers)} alive"


def _relays(status: Status) -> Iterator[str]:
    if status.relays is None:
        return
    is_nothing_due = status.outbox is not None and status.outbox.lag == 0.0
    said = [
        f"{each.host}:{each.pid}, heard of {seconds(max(status.at - each.heard_at, 0.0))} ago, "
        + ("idle" if is_nothing_due and each.behind < _IDLE_SECONDS else f"{seconds(each.behind)} behind")
        for each in status.relays
    ]
    yield f"Relays        {len(said)} alive{': ' if said else ''}{shown('; '.join(said[:_NAMED]))}"


def _workers(workers: Sequence[Worker] | None) -> str:
    if workers is None:
        return _UNKNOWN
    return f"{len(workers)}: {_some([*map(_spelled, workers)])}" if workers else "none"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return shown(", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else ""))


def _spelled(worker: Worker) -> str:
    return f"{worker.host}:{worker.pid}"


def _number(count: int | None) -> str:
    return _UNKNOWN if count is None else str(count)
