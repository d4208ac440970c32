"""`fastapi-events dead`: what was given up, until somebody decides about it."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from fastapi_events import redaction
from fastapi_events.cli.arguments import add_command, add_group, age
from fastapi_events.cli.selection import NotThereError, guess, only
from fastapi_events.cli.text import block, local, say, say_json, shown, table
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.inspection import handlers_in
from fastapi_events.storage.dead_letters import DeadLetter, DeadLetters

_LISTING = "fastapi-events dead list"
_PAGE = 1_000


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    actions = add_group(
        commands, "dead", "list, show, replay, discard and expire dead letters",
        examples="fastapi-events dead list app.events",
    )  # fmt: skip
    listing = add_command(
        actions, "list", _list, "list dead letters, those first that were given up first",
        examples="""
        fastapi-events dead list app.events
        fastapi-events dead list app.events --subscription app.handlers.cook
        fastapi-events dead list app.events --json | jq -r .reason | sort | uniq -c
        """,
    )  # fmt: skip
    listing.add_argument("--limit", type=int, default=100, help="how many (100)")
    _filters(listing)
    one = add_command(
        actions, "show", _show, "show one letter with its payload and traceback",
        examples="fastapi-events dead show app.events 0b6f2a5e",
    )  # fmt: skip
    one.add_argument("id", help="a letter's id, or how it begins")
    for name, run, summary in (
        ("replay", _replay, "send letters to their subscriptions once more; interrupt and repeat it at will"),
        ("discard", _discard, "remove letters for ever"),
    ):
        several = add_command(
            actions, name, run, summary,
            examples=f"""
            fastapi-events dead {name} app.events 0b6f2a5e
            fastapi-events dead {name} app.events --subscription app.handlers.cook
            fastapi-events dead {name} app.events --all
            """,
        )  # fmt: skip
        several.add_argument("ids", nargs="*", metavar="id", help="a letter's id, or how it begins")
        several.add_argument("--all", action="store_true", help="all of them, or all that the filters leave")
        _filters(several)
    expiry = add_command(
        actions, "expire", _expire, "remove what was given up long ago",
        examples="fastapi-events dead expire app.events --older-than 30d",
    )  # fmt: skip
    expiry.add_argument("--older-than", type=age, required=True, metavar="AGE", help="such as 30d or 12h")


def _filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subscription", help="only letters to this subscription")
    parser.add_argument("--event", help="only letters about this event")


def _list(arguments: argparse.Namespace) -> int:
    stores = list(_stores(arguments.target))
    found = [
        letter
        for handler, letters in stores
        for letter in letters.list(
            limit=arguments.limit, handler=handler.name, **_filter(arguments)
        )
    ]  # fmt: skip
    if not found:
        _check_filters(arguments, stores)
    if arguments.json:
        for letter in found:
            say_json(_as_data(letter))
    else:
        _print(found)
    return 0


def _as_data(letter: DeadLetter) -> dict[str, Any]:
    return dataclasses.asdict(letter) | {"argument": redaction.shown_text(letter.argument)}


def _print(letters: list[DeadLetter]) -> None:
    if not letters:
        say("No dead letters.")
        return
    head = ("ID", "GIVEN UP", "TRIED", "SUBSCRIPTION", "EVENT", "REASON")
    rows = [
        (
            shown(each.id), local(each.last_at), str(each.attempts),
            shown(each.subscription, 40), shown(each.event_name or "?", 30), shown(each.reason, 60),
        )
        for each in letters
    ]  # fmt: skip
    say(table(head, rows))


def _show(arguments: argparse.Namespace) -> int:
    letter, handler = _find(arguments.target, arguments.id)
    if arguments.json:
        say_json(_as_data(letter))
        return 0
    for name, value in (
        ("id", letter.id), ("handler", handler.name), ("subscription", letter.subscription),
        ("queue", letter.queue), ("event", letter.event_name), ("event id", letter.event_id),
        ("attempts", letter.attempts), ("first tried", local(letter.first_at)),
        ("given up", local(letter.last_at)), ("reason", letter.reason),
    ):  # fmt: skip
        say(f"{name + ':':<14}{shown(value)}")
    say(f"\n{shown(redaction.shown_text(letter.argument))}\n\n{block(letter.traceback)}")
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    if arguments.ids:
        for letter, handler in _chosen(arguments):
            handler.replay([letter])
            _letters(handler).replayed([letter])
            _say_done(arguments, letter.id, "replayed")
        return 0
    stores = _asked_for_many(arguments)
    done = 0
    for handler, letters in stores:
        total = letters.count(handler=handler.name, **_filter(arguments))
        for count in handler.replay_all(**_filter(arguments)):
            done += count
            say(f"\r{done} of {total} replayed", to=sys.stderr, end="")
    if arguments.json:
        say_json({"count": done, "done": "replayed"})
    else:
        say(f"\r{done} replayed".ljust(40), to=sys.stderr)
    return 0


def _discard(arguments: argparse.Namespace) -> int:
    if arguments.ids:
        for letter, handler in _chosen(arguments):
            _letters(handler).discard([letter.id])
            _say_done(arguments, letter.id, "discarded")
        return 0
    stores = _asked_for_many(arguments)
    done = 0
    for handler, letters in stores:
        while page := letters.list(limit=_PAGE, handler=handler.name, **_filter(arguments)):
            done += letters.discard([each.id for each in page])
    _say_count(arguments, done, "discarded")
    return 0


def _expire(arguments: argparse.Namespace) -> int:
    before = datetime.now(UTC) - arguments.older_than
    stores = {id(letters): letters for _, letters in _stores(arguments.target)}
    _say_count(arguments, sum(letters.expire(before) for letters in stores.values()), "expired")
    return 0


def _say_done(arguments: argparse.Namespace, id_: str, done: str) -> None:
    if arguments.json:
        say_json({"id": id_, "done": done})
    else:
        say(f"{shown(id_)} {done}")


def _say_count(arguments: argparse.Namespace, count: int, done: str) -> None:
    if arguments.json:
        say_json({"count": count, "done": done})
    else:
        say(f"{count} {done}")


# Which letters


def _chosen(arguments: argparse.Namespace) -> list[tuple[DeadLetter, TaskQueueHandler]]:
    """Those whose ids were named, all of them found before anything happens to the first."""
    if arguments.all or any(_filter(arguments).values()):
        raise ConfigurationError(
            "Name letters by their ids, or pass --all, --subscription or --event; not both."
        )
    found = [_find(arguments.target, each) for each in arguments.ids]
    return list({letter.id: (letter, handler) for letter, handler in found}.values())


def _asked_for_many(arguments: argparse.Namespace) -> list[tuple[TaskQueueHandler, DeadLetters]]:
    if not arguments.all and not any(_filter(arguments).values()):
        raise ConfigurationError("Name the letters by their ids, or pass --all, --subscription or --event.")
    stores = list(_stores(arguments.target))
    if not any(letters.count(handler=each.name, **_filter(arguments)) for each, letters in stores):
        _check_filters(arguments, stores)
    return stores


def _filter(arguments: argparse.Namespace) -> dict[str, str | None]:
    return {"subscription": arguments.subscription, "event_name": arguments.event}


def _check_filters(arguments: argparse.Namespace, stores: list[tuple[TaskQueueHandler, DeadLetters]]) -> None:
    """Say which filter has left nothing.

    Raises:
        NotThereError: With the closest name that there is.
    """
    if not any(_filter(arguments).values()):
        return
    letters = [letter for handler, store in stores for letter in _all(store, handler)]
    subscriptions = {each.subscription for each in letters}
    registered = {each.name for handler, _ in stores for each in handler.subscriptions}
    events = {each.event_name for each in letters if each.event_name}
    if arguments.subscription is not None and arguments.subscription not in subscriptions:
        close = guess(arguments.subscription, subscriptions | registered)
        raise NotThereError(f"No dead letter is to the subscription {shown(arguments.subscription)}{close}")
    if arguments.event is not None and arguments.event not in events:
        raise NotThereError(
            f"No dead letter is about the event {shown(arguments.event)}{guess(arguments.event, events)}"
        )
    raise NotThereError("No dead letter is both to that subscription and about that event.")


def _stores(target: str) -> Iterator[tuple[TaskQueueHandler, DeadLetters]]:
    for handler in handlers_in(target):
        yield handler, _letters(handler)


def _letters(handler: TaskQueueHandler) -> DeadLetters:
    if handler.dead_letters is None:
        raise ConfigurationError(
            f"{handler.name} leaves its dead letters to the engine; pass store= or dead_letters= to the "
            "handler, so that they can be listed and replayed."
        )
    return handler.dead_letters


def _all(letters: DeadLetters, handler: TaskQueueHandler) -> Iterator[DeadLetter]:
    after = None
    while page := letters.list(limit=_PAGE, handler=handler.name, after=after):
        yield from page
        after = page[-1].cursor


def _find(target: str, prefix: str) -> tuple[DeadLetter, TaskQueueHandler]:
    found: dict[str, tuple[DeadLetter, TaskQueueHandler]] = {}
    for handler, letters in _stores(target):
        exact = letters.get(prefix)
        if exact is not None and exact.handler == handler.name:
            return exact, handler
        for letter in _all(letters, handler):
            if letter.id.startswith(prefix):
                found[letter.id] = letter, handler
    return found[only(found, prefix, what="dead letter", listing=_LISTING)]
