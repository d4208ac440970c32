"""`fastapi-events outbox`: what has not arrived yet."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from fastapi_events import redaction
from fastapi_events.cli.arguments import add_command, add_group, number
from fastapi_events.cli.selection import NotThereError, only
from fastapi_events.cli.text import local, say, say_json, shown, table
from fastapi_events.envelope import unseal
from fastapi_events.errors import ConfigurationError, UnreadableEnvelope
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.inspection import handlers_in
from fastapi_events.storage.base import Store
from fastapi_events.storage.outbox import Entry, Outbox

_LISTING = "fastapi-events outbox list"
_PAGE = 1_000


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    actions = add_group(
        commands, "outbox", "show what waits in the outbox; create tables",
        examples="fastapi-events outbox status app.events",
    )  # fmt: skip
    add_command(
        actions, "status", _status, "count what waits", examples="fastapi-events outbox status app.events"
    )
    listing = add_command(
        actions, "list", _list, "list what waits, the oldest first",
        examples="fastapi-events outbox list app.events --limit 10",
    )  # fmt: skip
    listing.add_argument("--limit", type=number, default=100, help="how many (100)")
    discarding = add_command(
        actions, "discard", _discard, "remove events that nobody shall get any more",
        examples="fastapi-events outbox discard app.events 0b6f2a5e",
    )  # fmt: skip
    discarding.add_argument("ids", nargs="+", metavar="id", help="an event's id, or how it begins")
    discarding.add_argument(
        "--for", dest="destination", metavar="HANDLER",
        help="the event that is for this handler, which the target does not name, or which is gone",
    )  # fmt: skip
    add_command(
        actions, "setup", _setup, "create what the stores of the handlers need",
        examples="fastapi-events outbox setup app.events",
    )  # fmt: skip


def _status(arguments: argparse.Namespace) -> int:
    rows = []
    for outbox, handlers in _outboxes(arguments.target):
        status = outbox.status()
        if arguments.json:
            say_json(
                {
                    "handlers": handlers, "waiting": status.waiting, "claimed": status.claimed,
                    "unconfirmed": status.unconfirmed, "oldest": status.oldest,
                }
            )  # fmt: skip
            continue
        oldest = "-" if status.oldest is None else local(status.oldest)
        counts = (str(status.waiting), str(status.claimed), str(status.unconfirmed))
        rows.append((*counts, oldest, shown(", ".join(handlers))))
    if rows:
        say(table(("WAITING", "CLAIMED", "UNCONFIRMED", "OLDEST", "FOR"), rows))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    rows = []
    for outbox, _ in _outboxes(arguments.target):
        for entry in outbox.list(limit=arguments.limit):
            if arguments.json:
                say_json(
                    {
                        "id": entry.id, "event": _name(entry), "handler": entry.destination,
                        "due": entry.due, "ordering_key": entry.ordering_key,
                        "envelope": redaction.shown_text(entry.envelope),
                    }
                )  # fmt: skip
                continue
            due = "now" if entry.due is None else local(entry.due)
            rows.append((shown(entry.id), shown(_name(entry), 40), shown(entry.destination), due))
    if not arguments.json:
        say(table(("ID", "EVENT", "FOR", "DUE"), rows) if rows else "The outbox is empty.")
    return 0


def _discard(arguments: argparse.Namespace) -> int:
    found = [
        (outbox, entry)
        for outbox, _ in _outboxes(arguments.target)
        for entry in _entries(outbox)
        if entry.id.startswith(tuple(arguments.ids))
    ]
    handlers = [each for each in handlers_in(arguments.target) if each.outbox is not None]
    meant = {each.name for each in handlers} if arguments.destination is None else {arguments.destination}
    entries = [(outbox, entry) for outbox, entry in found if entry.destination in meant]
    missing = []
    for prefix in dict.fromkeys(arguments.ids):
        ids = [entry.id for _, entry in entries if entry.id.startswith(prefix)]
        try:
            id_ = only(ids, prefix, what="event in the outbox", listing=_LISTING)
        except NotThereError as error:
            others = {entry.destination for _, entry in found if entry.id.startswith(prefix)}
            missing.append(_for_others(prefix, others) if prefix and others else error)
            continue
        for outbox, entry in entries:
            if entry.id == id_:
                _cancel(outbox, entry, handlers)
        if arguments.json:
            say_json({"id": id_, "done": "discarded"})
        else:
            say(f"{shown(id_)} discarded")
    for each in missing:
        say(f"fastapi-events: {shown(each)}", to=sys.stderr)
    return 1 if missing else 0


def _for_others(prefix: str, destinations: set[str]) -> NotThereError:
    """The error where only other handlers have an event of this id, which keep it unless they are named."""
    names = sorted(map(shown, destinations))
    return NotThereError(
        f"The event {shown(repr(prefix))} in the outbox is for {' and '.join(names)}, and was left. "
        f"To discard it there, name the handler: --for {names[0]}."
    )


def _cancel(outbox: Outbox, entry: Entry, handlers: list[TaskQueueHandler]) -> None:
    """Let the handler do it whose event it is, else one that shares the outbox: it keeps who did."""
    sharing = [each for each in handlers if each.outbox is outbox]
    own = [each for each in sharing if each.name == entry.destination]
    [*own, *sharing][0].cancel([entry])


def _setup(arguments: argparse.Namespace) -> int:
    stores: dict[int, Store] = {}
    for handler in handlers_in(arguments.target):
        for each in (
            handler.outbox, handler.inbox, handler.dead_letters, handler.lanes, handler.settings.catalogue,
            handler.journal,
        ):  # fmt: skip
            if each is not None:
                stores[id(each)] = each
    if not stores:
        raise ConfigurationError(f"{arguments.target}: no handler has a store to set up; pass store= to it.")
    for store in stores.values():
        store.setup()
        store.check()
        if arguments.json:
            say_json({"store": type(store).__name__, "done": "ready"})
        else:
            say(f"{type(store).__name__} is ready")
    return 0


def _outboxes(target: str) -> Iterator[tuple[Outbox, list[str]]]:
    """Each outbox once, with the handlers that it is for."""
    found: dict[int, tuple[Outbox, list[TaskQueueHandler]]] = {}
    for handler in handlers_in(target):
        if handler.outbox is not None:
            found.setdefault(id(handler.outbox), (handler.outbox, []))[1].append(handler)
    if not found:
        raise ConfigurationError(f"{target}: no handler has an outbox; pass store= or outbox= to it.")
    for outbox, handlers in found.values():
        yield outbox, [each.name for each in handlers]


def _entries(outbox: Outbox) -> Iterator[Entry]:
    after = None
    while page := outbox.list(limit=_PAGE, after=after):
        yield from page
        after = page[-1].cursor


def _name(entry: Entry) -> str:
    try:
        return str(unseal(entry.envelope).name)
    except UnreadableEnvelope:
        return "?"
