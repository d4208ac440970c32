"""Which dead letters a command means: those named by their ids, or those that filters leave."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from fastapi_events.cli.arguments import age, some_text
from fastapi_events.cli.selection import NotThereError, guess, only
from fastapi_events.cli.text import shown
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.inspection import handlers_in
from fastapi_events.storage.dead_letters import DeadLetter, DeadLetters
from fastapi_events.storage.letters import LetterFilter
from fastapi_events.storage.letters import matching_letters as letters_in

_LISTING = "fastapi-events dead list"
_ALL = 1_000_000
"""Groups: more than there are letters."""


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that select dead letters."""
    parser.add_argument("--subscription", type=some_text, help="only letters to this subscription")
    parser.add_argument("--event", type=some_text, help="only letters about this event")
    parser.add_argument(
        "--error", type=some_text, metavar="TEXT", help="only those whose reason has this in it"
    )
    parser.add_argument("--key", type=some_text, help="only those of events with this ordering key")
    parser.add_argument(
        "--group", type=some_text, metavar="ID", help="only those of this group; see `dead groups`"
    )
    parser.add_argument(
        "--older-than", type=age, metavar="AGE", help="only those given up before, such as 30d"
    )
    parser.add_argument("--since", type=age, metavar="AGE", help="only those given up within, such as 2h")
    parser.add_argument(
        "--where", type=_field, action="append", metavar="FIELD=VALUE",
        help="only those whose payload has this, such as card.holder=Tom; may be repeated",
    )  # fmt: skip


def chosen(arguments: argparse.Namespace) -> list[tuple[DeadLetter, TaskQueueHandler]]:
    """The letters with the given ids; all are looked up before the first is changed."""
    if arguments.all or _filters(arguments):
        raise ConfigurationError(
            "Name letters by their ids, or pass --all, --subscription, --event or another filter; not both."
        )
    found = [find(arguments.target, each) for each in arguments.ids]
    return list({letter.id: (letter, handler) for letter, handler in found}.values())


def asked_for_many(
    arguments: argparse.Namespace,
) -> tuple[list[tuple[TaskQueueHandler, DeadLetters]], LetterFilter]:
    """The stores in which there are letters that the filters ask for, and the filters."""
    if not arguments.all and not _filters(arguments):
        raise ConfigurationError(
            "Name the letters by their ids, or pass --all, --subscription, --event or another filter."
        )
    stores = list(stores_of(arguments.target))
    matching = filter_of(arguments, stores)
    if not matching.is_empty and next(matching_letters(stores, matching), None) is None:
        check_filters(arguments, stores)
    return stores, matching


def _filters(arguments: argparse.Namespace) -> bool:
    """Whether the arguments choose letters by what is in them."""
    names = ("subscription", "event", "error", "key", "group", "older_than", "since", "where")
    return any(getattr(arguments, each) for each in names)


def filter_of(
    arguments: argparse.Namespace, stores: Sequence[tuple[TaskQueueHandler, DeadLetters]]
) -> LetterFilter:
    """Which letters the arguments ask for.

    Parameters:
        stores: Where a group is looked for of which only the beginning of the id is given.

    Raises:
        NotThereError: When no group's id begins like this.
        ConfigurationError: When several do.
    """
    now = datetime.now(UTC)
    return LetterFilter(
        subscription=arguments.subscription,
        event_name=arguments.event,
        error=arguments.error,
        group=_group(arguments.group, stores),
        before=None if arguments.older_than is None else now - arguments.older_than,
        since=None if arguments.since is None else now - arguments.since,
        ordering_key=arguments.key,
        fields=dict(arguments.where or ()),
    )


def _group(prefix: str | None, stores: Sequence[tuple[TaskQueueHandler, DeadLetters]]) -> str | None:
    """The whole id of a group, so that nobody discards another one that begins alike."""
    if prefix is None or not stores:
        return prefix
    found = {
        group.id
        for handler, letters in stores
        for group in letters.groups(handler=handler.name, limit=_ALL)
        if group.id.startswith(prefix)
    }
    return only(found, prefix, what="group", listing="fastapi-events dead groups")


def check_filters(arguments: argparse.Namespace, stores: list[tuple[TaskQueueHandler, DeadLetters]]) -> None:
    """Say which filter has left nothing.

    Raises:
        NotThereError: With the closest name that there is.
    """
    letters = [letter for handler, store in stores for letter in letters_in(store, handler.name)]
    subscriptions = {each.subscription for each in letters}
    registered = {each.name for handler, _ in stores for each in handler.subscriptions}
    events = {each.event_name for each in letters if each.event_name}
    if arguments.subscription is not None and arguments.subscription not in subscriptions:
        for handler, _ in stores:
            with contextlib.suppress(Exception):  # it is asked for a guess only
                if handler.catalogue is not None:
                    registered |= {each.name for each in handler.catalogue.read(handler.name).listings}
        close = guess(arguments.subscription, subscriptions | registered)
        raise NotThereError(f"No dead letter is to the subscription {shown(arguments.subscription)}{close}")
    if arguments.event is not None and arguments.event not in events:
        raise NotThereError(
            f"No dead letter is about the event {shown(arguments.event)}{guess(arguments.event, events)}"
        )
    raise NotThereError("No dead letter is all that the filters ask for.")


def stores_of(target: str) -> Iterator[tuple[TaskQueueHandler, DeadLetters]]:
    """The handlers of a target, each with its store."""
    for handler in handlers_in(target):
        yield handler, letters_of(handler)


def letters_of(handler: TaskQueueHandler) -> DeadLetters:
    """The store of a handler's dead letters.

    Raises:
        ConfigurationError: When it has none.
    """
    if handler.dead_letters is None:
        raise ConfigurationError(
            f"{handler.name} leaves its dead letters to the engine; pass store= or dead_letters= to the "
            "handler, so that they can be listed and replayed."
        )
    return handler.dead_letters


def matching_letters(
    stores: Iterable[tuple[TaskQueueHandler, DeadLetters]], matching: LetterFilter
) -> Iterator[DeadLetter]:
    """The letters that are meant, handler by handler, those first that were given up first."""
    for handler, letters in stores:
        yield from letters_in(letters, handler.name, matching)


def find(target: str, prefix: str) -> tuple[DeadLetter, TaskQueueHandler]:
    """The letter whose id begins with a prefix, and its handler."""
    found: dict[str, tuple[DeadLetter, TaskQueueHandler]] = {}
    for handler, letters in stores_of(target):
        exact = letters.get(prefix)
        if exact is not None and exact.handler == handler.name:
            return exact, handler
        for letter in letters_in(letters, handler.name):
            if letter.id.startswith(prefix):
                found[letter.id] = letter, handler
    return found[only(found, prefix, what="dead letter", listing=_LISTING)]


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no field; write for example order.id=7")
    return name, value
