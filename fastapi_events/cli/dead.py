"""`fastapi-events dead`: what was given up, until somebody decides about it."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from fastapi_events import checks, redaction
from fastapi_events.cli.arguments import add_command, add_group, age, number
from fastapi_events.cli.editor import edit
from fastapi_events.cli.letters import (
    add_filters,
    asked_for_many,
    check_filters,
    chosen,
    filter_of,
    find,
    letters_of,
    matching_letters,
    stores_of,
)
from fastapi_events.cli.text import block, local, say, say_json, shown, table
from fastapi_events.errors import ConfigurationError, reason_of
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.handlers.task_queue.worker.replay import rate_of
from fastapi_events.inspection import handlers_in
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.letters import group_id


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    actions = add_group(
        commands, "dead", "list, group, show, replay, discard and expire dead letters",
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
    listing.add_argument("--limit", type=number, default=100, help="how many (100)")
    add_filters(listing)
    grouping = add_command(
        actions, "groups", _groups, "count dead letters by cause: subscription, error, place in the code",
        examples="""
        fastapi-events dead groups app.events
        fastapi-events dead groups app.events --since 1h
        """,
    )  # fmt: skip
    add_filters(grouping)
    add_command(
        actions, "adopt", _adopt, "take what the engine keeps in queues of its own into the store",
        examples="fastapi-events dead adopt app.events",
    )  # fmt: skip
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
            fastapi-events dead {name} app.events --subscription app.handlers.cook --error ValueError
            fastapi-events dead {name} app.events --all
            """,
        )  # fmt: skip
        several.add_argument("ids", nargs="*", metavar="id", help="a letter's id, or how it begins")
        several.add_argument("--all", action="store_true", help="all of them, or all that the filters leave")
        add_filters(several)
        if run is _replay:
            several.add_argument(
                "--rate", type=_rate, metavar="N/s", help="so many a second at most, such as 200/s"
            )
            several.add_argument(
                "--max-in-flight",
                type=number,
                metavar="N",
                help="so many at most whose functions have not ended",
            )
            several.add_argument(
                "--edit", action="store_true", help="change the payload of one letter before"
            )
    expiry = add_command(
        actions, "expire", _expire, "remove letters of the handler that were given up long ago",
        examples="fastapi-events dead expire app.events --older-than 30d",
    )  # fmt: skip
    expiry.add_argument("--older-than", type=age, required=True, metavar="AGE", help="such as 30d or 12h")


def _list(arguments: argparse.Namespace) -> int:
    handlers = list(handlers_in(arguments.target))
    stores = [(each, each.dead_letters) for each in handlers if each.dead_letters is not None]
    matching = filter_of(arguments, stores)
    found = list(islice(matching_letters(stores, matching), arguments.limit))
    queued = [each for handler in handlers for each in _queued(handler) if matching.matches(each)]
    queued = queued[: max(arguments.limit - len(found), 0)]
    if not found and not queued and not matching.is_empty:
        check_filters(arguments, stores)
    if arguments.json:
        for letter in found:
            say_json(_as_data(letter) | {"kept_by": "store"})
        for letter in queued:
            say_json(_as_data(letter) | {"kept_by": "engine"})
        return 0
    _print(found + queued)
    if queued:
        say(
            f"{checks.counted(len(queued), 'letter')}, the last of them, in queues of the engine: "
            f"fastapi-events dead adopt {arguments.target}",
            to=sys.stderr,
        )
    return 0


def _queued(handler: TaskQueueHandler) -> Sequence[DeadLetter]:
    """The letters in the engine's own queues; none where it does not answer, which is said."""
    try:
        return handler.queued_letters()
    except Exception as error:  # whatever a broker's client raises
        say(f"{handler.name}: the engine's own queues cannot be looked at: {reason_of(error)}", to=sys.stderr)
        return ()


def _adopt(arguments: argparse.Namespace) -> int:
    done = sum(count for handler, _ in list(stores_of(arguments.target)) for count in handler.adopt())
    _say_count(arguments, done, "adopted")
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
    letter, handler = find(arguments.target, arguments.id)
    if arguments.json:
        say_json(_as_data(letter))
        return 0
    for name, value in (
        ("id", letter.id), ("handler", handler.name), ("subscription", letter.subscription),
        ("queue", letter.queue), ("event", letter.event_name), ("event id", letter.event_id),
        ("attempts", letter.attempts), ("first tried", local(letter.first_at)),
        ("given up", local(letter.last_at)), ("group", group_id(letter)), ("reason", letter.reason),
    ):  # fmt: skip
        say(f"{name + ':':<14}{shown(value)}")
    say(f"\n{shown(redaction.shown_text(letter.argument))}\n\n{block(letter.traceback)}")
    return 0


def _groups(arguments: argparse.Namespace) -> int:
    stores = list(stores_of(arguments.target))
    matching = filter_of(arguments, stores)
    kept = (
        group
        for handler, letters in stores
        for group in letters.groups(handler=handler.name, wanted=matching)
    )
    found = sorted(kept, key=lambda each: -each.count)
    if not found and not matching.is_empty:
        check_filters(arguments, stores)
    if arguments.json:
        for group in found:
            say_json(dataclasses.asdict(group))
        return 0
    if not found:
        say("No dead letters.")
        return 0
    head = ("GROUP", "LETTERS", "FIRST", "LAST", "SUBSCRIPTION", "ERROR", "PLACE")
    rows = [
        (
            each.id, str(each.count), local(each.first_at), local(each.last_at),
            shown(each.subscription, 40), shown(each.error, 40), shown(each.place, 60),
        )
        for each in found
    ]  # fmt: skip
    say(table(head, rows))
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    if arguments.ids:
        return _replay_named(arguments)
    if arguments.edit:
        raise ConfigurationError("--edit takes the id of one letter.")
    stores, matching = asked_for_many(arguments)
    total = sum(1 for _ in matching_letters(stores, matching))
    done = 0
    try:
        for handler, _ in stores:
            for count in handler.replay_all(
                matching=matching, rate=arguments.rate, max_in_flight=arguments.max_in_flight
            ):
                done += count
                say(f"\r{done} of {total} replayed", to=sys.stderr, end="")
    except KeyboardInterrupt:
        say(f"\r{done} of {total} replayed; run it again for the rest.".ljust(40), to=sys.stderr)
        raise
    if arguments.json:
        say_json({"count": done, "done": "replayed"})
    else:
        say(f"\r{done} replayed".ljust(40), to=sys.stderr)
    return 0


def _replay_named(arguments: argparse.Namespace) -> int:
    several = chosen(arguments)
    if arguments.edit and len(several) != 1:
        raise ConfigurationError("--edit takes one letter at a time.")
    if arguments.rate is not None or arguments.max_in_flight is not None:
        raise ConfigurationError("--rate and --max-in-flight are for letters that filters choose, or --all.")
    for letter, handler in several:
        if arguments.edit:
            handler.replay_edited(letter, edit(letter, letters_of(handler)))
        else:
            handler.replay([letter])
            letters_of(handler).replayed([letter])
        _say_done(arguments, letter.id, "replayed")
    return 0


def _discard(arguments: argparse.Namespace) -> int:
    if arguments.ids:
        for letter, handler in chosen(arguments):
            handler.discard([letter])
            _say_done(arguments, letter.id, "discarded")
        return 0
    stores, matching = asked_for_many(arguments)
    done = sum(count for handler, _ in stores for count in handler.discard_all(matching))
    _say_count(arguments, done, "discarded")
    return 0


def _expire(arguments: argparse.Namespace) -> int:
    before = datetime.now(UTC) - arguments.older_than
    handlers = [handler for handler, _ in stores_of(arguments.target)]
    _say_count(arguments, sum(each.expire(before) for each in handlers), "expired")
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


def _rate(text: str) -> float:
    try:
        return rate_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
