"""`fastapi-events dead`: what was given up, until somebody decides about it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi_events.cli.text import block, shown, table
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.handlers.task_queue.worker.replay import replay_all
from fastapi_events.inspection import handlers_in
from fastapi_events.storage.base import DeadLetter, DeadLetters

_AGE = re.compile(r"(\d+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    parser = commands.add_parser("dead", help="list, show, replay, discard and expire dead letters")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    listing = _action(actions, "list", _list, "list dead letters, the oldest burial first")
    listing.add_argument("--limit", type=int, default=100, help="how many (100)")
    listing.add_argument("--json", action="store_true", help="one JSON object a line, complete")
    _filters(listing)
    one = _action(actions, "show", _show, "show one letter with its payload and traceback")
    one.add_argument("id")
    for name, run, help_ in (
        ("replay", _replay, "send letters to their subscriptions once more; interrupt and repeat it at will"),
        ("discard", _discard, "remove letters for ever"),
    ):
        several = _action(actions, name, run, help_)
        several.add_argument("ids", nargs="*", metavar="id")
        several.add_argument("--all", action="store_true", help="all of them, or all that the filters leave")
        _filters(several)
    expiry = _action(actions, "expire", _expire, "remove what was buried long ago")
    expiry.add_argument("--older-than", type=_age, required=True, metavar="AGE", help="such as 30d or 12h")


def _action(actions: Any, name: str, run: Callable[..., int], help_: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=help_, description=help_)
    parser.add_argument("target", help="where the handlers are: app.events, or app.events:events")
    parser.set_defaults(run=run)
    return parser


def _filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subscription", help="only letters to this subscription")
    parser.add_argument("--event", help="only letters about this event")


def _list(arguments: argparse.Namespace) -> int:
    rows = []
    for handler, letters in _stores(arguments.target):
        found = letters.list(limit=arguments.limit, handler=handler.name, **_filter(arguments))
        if arguments.json:
            for letter in found:
                print(json.dumps(dataclasses.asdict(letter), default=str))
        rows += found
    if not arguments.json:
        _print(rows)
    return 0


def _print(letters: list[DeadLetter]) -> None:
    if not letters:
        print("No dead letters.")
        return
    head = ("ID", "BURIED", "TRIED", "SUBSCRIPTION", "EVENT", "REASON")
    rows = [
        (
            shown(each.id), f"{each.last_at:%Y-%m-%d %H:%M:%S}", str(each.attempts),
            shown(each.subscription, 40), shown(each.event_name or "?", 30), shown(each.reason, 60),
        )
        for each in letters
    ]  # fmt: skip
    print(table(head, rows))


def _show(arguments: argparse.Namespace) -> int:
    letter, handler = _find(arguments.target, arguments.id)
    for name, value in (
        ("id", letter.id), ("handler", handler.name), ("subscription", letter.subscription),
        ("queue", letter.queue), ("event", letter.event_name), ("event id", letter.event_id),
        ("attempts", letter.attempts), ("first", letter.first_at), ("buried", letter.last_at),
        ("reason", letter.reason),
    ):  # fmt: skip
        print(f"{name + ':':<14}{shown(value)}")
    print(f"\n{shown(letter.argument)}\n\n{block(letter.traceback)}")
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    if arguments.ids:
        for each in _chosen(arguments):
            letter, handler = _find(arguments.target, each)
            handler.replay([letter])
            _letters(handler).replayed([letter])
            print(f"{shown(letter.id)} replayed")
        return 0
    _check_all(arguments)
    done = 0
    for handler, letters in _stores(arguments.target):
        total = letters.count(handler=handler.name, **_filter(arguments))
        for count in replay_all(handler, **_filter(arguments)):
            done += count
            print(f"\r{done} of {total} replayed", end="", file=sys.stderr, flush=True)
    print(f"\r{done} replayed".ljust(40), file=sys.stderr)
    return 0


def _discard(arguments: argparse.Namespace) -> int:
    if arguments.ids:
        for each in _chosen(arguments):
            letter, handler = _find(arguments.target, each)
            _letters(handler).discard([letter.id])
            print(f"{shown(letter.id)} discarded")
        return 0
    _check_all(arguments)
    done = 0
    for handler, letters in _stores(arguments.target):
        while page := letters.list(limit=1_000, handler=handler.name, **_filter(arguments)):
            done += letters.discard([each.id for each in page])
    print(f"{done} discarded")
    return 0


def _expire(arguments: argparse.Namespace) -> int:
    before = datetime.now(UTC) - arguments.older_than
    stores = {id(letters): letters for _, letters in _stores(arguments.target)}
    print(f"{sum(letters.expire(before) for letters in stores.values())} expired")
    return 0


def _chosen(arguments: argparse.Namespace) -> list[str]:
    if arguments.all:
        raise ConfigurationError("Name letters, or pass --all; not both.")
    return list(arguments.ids)


def _check_all(arguments: argparse.Namespace) -> None:
    if not arguments.all and not any(_filter(arguments).values()):
        raise ConfigurationError("Name the letters by their ids, or pass --all, --subscription or --event.")


def _filter(arguments: argparse.Namespace) -> dict[str, str | None]:
    return {"subscription": arguments.subscription, "event_name": arguments.event}


def _stores(target: str) -> Iterator[tuple[TaskQueueHandler, DeadLetters]]:
    for handler in handlers_in(target):
        yield handler, _letters(handler)


def _letters(handler: TaskQueueHandler) -> DeadLetters:
    if handler.dead_letters is None:
        raise ConfigurationError(
            f"{handler.name} leaves its dead letters to the engine; pass dead_letters= to the "
            "handler, so that they can be listed and replayed."
        )
    return handler.dead_letters


def _find(target: str, id_: str) -> tuple[DeadLetter, TaskQueueHandler]:
    for handler, letters in _stores(target):
        letter = letters.get(id_)
        if letter is not None and letter.handler == handler.name:
            return letter, handler
    raise ConfigurationError(
        f"There is no dead letter '{shown(id_)}'; `fastapi-events dead list` shows them."
    )


def _age(text: str) -> timedelta:
    match = _AGE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; write for example 30d, 12h or 45m")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
