"""`fastapi-events catalogue`: the functions that workers have announced."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from fastapi_events.cli.arguments import add_command, add_group
from fastapi_events.cli.selection import NotThereError, guess
from fastapi_events.cli.text import local, say, say_json, shown, table
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.inspection import handlers_in
from fastapi_events.storage.catalogue import Catalogue, Listing, Snapshot, Worker


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    actions = add_group(
        commands, "catalogue", "look at what workers have announced, and forget what is gone",
        examples="fastapi-events catalogue list app.events",
    )  # fmt: skip
    add_command(
        actions, "list", _list, "list what is announced, by which module, and since when",
        examples="""
        fastapi-events catalogue list app.events
        fastapi-events catalogue list app.events --json | jq -r 'select(.workers == []) | .subscription'
        """,
    )  # fmt: skip
    forgetting = add_command(
        actions, "forget", _forget, "forget functions that no worker will run any more",
        examples="""
        fastapi-events catalogue forget app.events app.handlers.cook
        fastapi-events catalogue forget app.events app.handlers
        """,
    )  # fmt: skip
    forgetting.add_argument(
        "names", nargs="+", metavar="name", help="a subscription, or a module and all that it registers"
    )


def _list(arguments: argparse.Namespace) -> int:
    rows = []
    for handler, catalogue in _catalogues(arguments.target):
        snapshot = catalogue.read(handler.name)
        for each in snapshot.listings:
            if arguments.json:
                say_json(_described(handler, each, snapshot))
                continue
            rows.append(
                (
                    shown(each.name, 50), shown(", ".join(each.patterns), 40), shown(each.queue),
                    shown(each.module, 40), local(_time(each.since)),
                    ", ".join(map(_spelled, snapshot.workers_of(each.name))) or "none",
                )
            )  # fmt: skip
    if not arguments.json:
        head = ("SUBSCRIPTION", "LISTENS TO", "QUEUE", "MODULE", "SINCE", "LIVE WORKERS")
        say(table(head, rows) if rows else "No worker has announced a function.")
    return 0


def _described(handler: TaskQueueHandler, listing: Listing, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "handler": handler.name, "subscription": listing.name, "patterns": listing.patterns,
        "queue": listing.queue, "module": listing.module, "version": listing.version,
        "since": _time(listing.since), "workers": [*map(_spelled, snapshot.workers_of(listing.name))],
    }  # fmt: skip


def _forget(arguments: argparse.Namespace) -> int:
    catalogues = [
        (handler, catalogue, catalogue.read(handler.name))
        for handler, catalogue in _catalogues(arguments.target)
    ]
    listings = [each for _, _, snapshot in catalogues for each in snapshot.listings]
    known = {name for each in listings for name in (each.name, each.module)}
    failed = [
        NotThereError(f"No worker has announced {shown(name)}{guess(name, known)}")
        for name in dict.fromkeys(arguments.names)
        if name not in known
    ]
    for handler, catalogue, snapshot in catalogues:
        for listing in snapshot.listings:
            if not {listing.name, listing.module} & set(arguments.names):
                continue
            if running := snapshot.workers_of(listing.name):
                failed.append(
                    NotThereError(
                        f"{shown(listing.name)} is run by {', '.join(map(_spelled, running))}: other workers "
                        "would send it no event any more. Stop that first; a worker that was killed is off "
                        "the list after ten seconds."
                    )
                )
            elif catalogue.forget(handler.name, listing.name):
                _say_forgotten(arguments, handler, listing)
    for error in failed:
        say(f"fastapi-events: {error}", to=sys.stderr)
    return 1 if failed else 0


def _say_forgotten(arguments: argparse.Namespace, handler: TaskQueueHandler, listing: Listing) -> None:
    if arguments.json:
        say_json({"handler": handler.name, "subscription": listing.name, "done": "forgotten"})
    else:
        say(f"{shown(listing.name)} forgotten")


def _catalogues(target: str) -> Iterator[tuple[TaskQueueHandler, Catalogue]]:
    for handler in handlers_in(target):
        if handler.catalogue is None:
            raise ConfigurationError(
                f"{handler.name} has no catalogue, so that each of its workers knows its own functions only; "
                "pass store= or catalogue= to it."
            )
        yield handler, handler.catalogue


def _spelled(worker: Worker) -> str:
    return shown(f"{worker.host}:{worker.pid}")


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
