"""`fastapi-events outbox`: what has not arrived yet."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from fastapi_events.cli.text import shown, table
from fastapi_events.envelope import unseal
from fastapi_events.errors import ConfigurationError, UnreadableEnvelope
from fastapi_events.inspection import handlers_in
from fastapi_events.storage.base import Entry, Outbox, Store


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    parser = commands.add_parser("outbox", help="show what waits in the outbox; create tables")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    _action(actions, "status", _status, "count what waits")
    listing = _action(actions, "list", _list, "list what waits, the oldest first")
    listing.add_argument("--limit", type=int, default=100, help="how many (100)")
    discarding = _action(actions, "discard", _discard, "remove events that nobody shall get any more")
    discarding.add_argument("ids", nargs="+", metavar="id")
    _action(actions, "setup", _setup, "create what the stores of the handlers need")


def _action(actions: Any, name: str, run: Callable[..., int], help_: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=help_, description=help_)
    parser.add_argument("target", help="where the handlers are: app.events, or app.events:events")
    parser.set_defaults(run=run)
    return parser


def _status(arguments: argparse.Namespace) -> int:
    for outbox in _outboxes(arguments.target):
        status = outbox.status()
        oldest = "-" if status.oldest is None else f"{status.oldest:%Y-%m-%d %H:%M:%S}"
        print(
            table(
                ("WAITING", "CLAIMED", "UNCONFIRMED", "OLDEST"),
                [(str(status.waiting), str(status.claimed), str(status.unconfirmed), oldest)],
            )
        )
    return 0


def _list(arguments: argparse.Namespace) -> int:
    rows = []
    for outbox in _outboxes(arguments.target):
        for entry in outbox.list(limit=arguments.limit):
            due = "now" if entry.due is None else f"{entry.due:%Y-%m-%d %H:%M:%S}"
            rows.append((shown(entry.id), shown(_name(entry), 40), shown(entry.destination), due))
    print(table(("ID", "EVENT", "FOR", "DUE"), rows) if rows else "The outbox is empty.")
    return 0


def _discard(arguments: argparse.Namespace) -> int:
    wanted = set(arguments.ids)
    found: set[str] = set()
    for outbox in _outboxes(arguments.target):
        after = None
        while page := outbox.list(limit=1_000, after=after):
            chosen = [entry for entry in page if entry.id in wanted]
            outbox.discard(chosen)
            found.update(entry.id for entry in chosen)
            after = page[-1].cursor
    for each in sorted(found):
        print(f"{shown(each)} discarded")
    if missing := wanted - found:
        raise ConfigurationError(f"not in the outbox: {', '.join(map(shown, sorted(missing)))}")
    return 0


def _setup(arguments: argparse.Namespace) -> int:
    stores: dict[int, Store] = {}
    for handler in handlers_in(arguments.target):
        for each in (handler.outbox, handler.inbox, handler.dead_letters, handler.lanes):
            if each is not None:
                stores[id(each)] = each
    for store in stores.values():
        store.setup()
        store.check()
        print(f"{type(store).__name__} is ready")
    if not stores:
        print("The handlers have no stores.")
    return 0


def _outboxes(target: str) -> list[Outbox]:
    found = {id(each.outbox): each.outbox for each in handlers_in(target) if each.outbox is not None}
    if not found:
        raise ConfigurationError(f"{target}: no handler has an outbox; pass outbox= to it.")
    return list(found.values())


def _name(entry: Entry) -> str:
    try:
        return str(unseal(entry.envelope).name)
    except UnreadableEnvelope:
        return "?"
