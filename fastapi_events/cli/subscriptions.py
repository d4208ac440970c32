"""`fastapi-events subscriptions`: who listens to what, in the whole fleet."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from fastapi_events.cli.arguments import add_command
from fastapi_events.cli.text import say, say_json, shown, table
from fastapi_events.event import wire_name
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.handlers.task_queue.listing import listing_of
from fastapi_events.inspection import handlers_in
from fastapi_events.registry.payload_schema import registry
from fastapi_events.storage.catalogue import Listing, Snapshot
from fastapi_events.subscriptions.pattern import PatternIndex

_HEAD = ("PATTERN", "FUNCTION", "QUEUE", "RETRIES", "WORKERS")


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    add_command(
        commands, "subscriptions", _run, "show who listens to what, in all workers of the handlers",
        examples="""
        fastapi-events subscriptions app.handlers
        fastapi-events subscriptions app.handlers:events --json | jq 'select(.workers == 0)'
        """,
    )  # fmt: skip


def _run(arguments: argparse.Namespace) -> int:
    code = 0
    for handler in handlers_in(arguments.target):
        snapshot = _snapshot(handler)
        if snapshot is None:
            code, snapshot = 1, Snapshot()
        listings = _listings(handler, snapshot)
        (_print_json if arguments.json else _print)(handler.name, listings, snapshot)
    return code


def _snapshot(handler: TaskQueueHandler) -> Snapshot | None:
    try:
        return handler.fleet.snapshot()
    except Exception as error:  # of a store, or of a broker's client
        say(
            f"fastapi-events: the catalogue of {handler.name} cannot be read, so these are the functions of "
            f"this process only: {type(error).__name__}: {shown(error)}",
            to=sys.stderr,
        )
        return None


def _listings(handler: TaskQueueHandler, snapshot: Snapshot) -> list[Listing]:
    """The functions of the fleet, and those of this process that no worker has announced yet."""
    found = {
        each.name: listing_of(each, engine=handler.engine.name, version=None)
        for each in handler.subscriptions
    }
    found |= {each.name: each for each in snapshot.listings}
    return [found[name] for name in sorted(found)]


def _print(handler: str, listings: Sequence[Listing], snapshot: Snapshot) -> None:
    rows = [
        (
            shown(pattern), shown(each.name), shown(each.queue), _policy(each),
            str(len(snapshot.workers_of(each.name))),
        )
        for each in listings
        for pattern in each.patterns
    ]  # fmt: skip
    say(handler)
    say(table(_HEAD, sorted(rows)) if rows else "Nobody listens.")
    for pattern in _idle(listings):
        say(f"Pattern {shown(repr(pattern))} matches no name for which a schema is registered.")
    for name in _unheard(listings):
        say(f"Nobody listens to {shown(repr(name))}, for which a schema is registered.")


def _print_json(handler: str, listings: Sequence[Listing], snapshot: Snapshot) -> None:
    for each in listings:
        workers = len(snapshot.workers_of(each.name))
        say_json({"handler": handler, "kind": "function", **asdict(each), "workers": workers})
    for pattern in _idle(listings):
        say_json({"handler": handler, "kind": "pattern without a name", "pattern": pattern})
    for name in _unheard(listings):
        say_json({"handler": handler, "kind": "name without a function", "name": name})


def _policy(listing: Listing) -> str:
    retry = listing.retry
    if not retry:
        return "-"
    return f"{retry['max_retries']:g}, {retry['min_backoff']:g} to {retry['max_backoff']:g} s"


def _idle(listings: Iterable[Listing]) -> list[str]:
    """The patterns that match none of the names that are known, where some are known at all."""
    names = _names()
    patterns = sorted({pattern for each in listings for pattern in each.patterns})
    return [each for each in patterns if names and not any(_index([each]).match(name) for name in names)]


def _unheard(listings: Iterable[Listing]) -> list[str]:
    """The names that are known, and that no pattern matches."""
    index = _index(pattern for each in listings for pattern in each.patterns)
    return [name for name in _names() if not index.match(name)]


def _names() -> list[str]:
    """The names of events for which this process has registered a schema."""
    return sorted(map(wire_name, registry))


def _index(patterns: Iterable[str]) -> PatternIndex[str]:
    index: PatternIndex[str] = PatternIndex()
    for each in patterns:
        index.add(each, each)
    return index
