"""`fastapi-events subscriptions`: who listens to what, in the whole fleet."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fastapi_events.cli.arguments import add_command
from fastapi_events.cli.text import say, say_json, shown, table
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.inspection import handlers_in
from fastapi_events.status.listings import idle_patterns, listings_of, registered_names, unheard_names
from fastapi_events.storage.catalogue import Listing, Snapshot

_HEAD = ("PATTERN", "FUNCTION", "QUEUE", "RETRIES", "WORKERS")


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    add_command(
        commands, "subscriptions", _run, "show who listens to what in all workers, and what nobody hears",
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
        listings = listings_of(handler, snapshot)
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
    for pattern in idle_patterns(listings, registered_names()):
        say(f"Pattern {shown(repr(pattern))} matches no name for which a schema is registered.")
    for name in unheard_names(listings, registered_names()):
        say(f"Nobody listens to {shown(repr(name))}, for which a schema is registered.")


def _print_json(handler: str, listings: Sequence[Listing], snapshot: Snapshot) -> None:
    for each in listings:
        workers = len(snapshot.workers_of(each.name))
        say_json({"handler": handler, "kind": "function", **asdict(each), "workers": workers})
    for pattern in idle_patterns(listings, registered_names()):
        say_json({"handler": handler, "kind": "pattern without a name", "pattern": pattern})
    for name in unheard_names(listings, registered_names()):
        say_json({"handler": handler, "kind": "name without a function", "name": name})


def _policy(listing: Listing) -> str:
    retry = listing.retry
    if not retry:
        return "-"
    return f"{retry['max_retries']:g}, {retry['min_backoff']:g} to {retry['max_backoff']:g} s"
