"""`fastapi-events event`: what became of an event, and where it is."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi_events.cli.arguments import add_command, add_group, age, number, some_text
from fastapi_events.cli.event_tree import data_of, line_of, lines_of, record_data
from fastapi_events.cli.selection import NotThereError, guess, only
from fastapi_events.cli.text import local, say, say_json, shown, table
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.inspection import handlers_in
from fastapi_events.lives import Life, causes_of, events_of, life_of, state_of
from fastapi_events.queue_contents import QueueContents, in_queues, places_now
from fastapi_events.storage.base import moment
from fastapi_events.storage.histories import HAPPENINGS
from fastapi_events.storage.journal import Journal, Record
from fastapi_events.whereabouts import Found, Place, held, journals, places_of

_LISTING = "fastapi-events event list"
_AT_MOST = 20
"""Events whose ids begin alike: more are not told apart by showing them."""

_TAIL_EVERY_SECONDS = 1.0
_LATE = timedelta(seconds=15)
"""How late a record may come into the journal to be seen by `tail`: processes write in batches."""


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    actions = add_group(
        commands, "event", "show what became of events, and where they are",
        examples="fastapi-events event show app.events 0b6f2a5e",
    )  # fmt: skip
    one = add_command(
        actions, "show", _show, "show what became of one event, in all functions, and what it caused",
        examples="fastapi-events event show app.events 0b6f2a5e",
    )  # fmt: skip
    one.add_argument("id", help="an event's id, or how it begins")
    listing = add_command(
        actions, "list", _list, "list the events of the journal, the latest first",
        examples="""
        fastapi-events event list app.events --since 1h
        fastapi-events event list app.events --name 'order-*' --outcome failed
        fastapi-events event list app.events --json | jq -r .name | sort | uniq -c
        """,
    )  # fmt: skip
    listing.add_argument("--limit", type=number, default=100, help="how many (100)")
    listing.add_argument("--since", type=age, metavar="AGE", help="only of the last 1h, 30m, 2d")
    _filters(listing)
    tail = add_command(
        actions, "tail", _tail, "show what happens to events, as it happens, until it is interrupted",
        examples="fastapi-events event tail app.events --name 'order-*' --outcome failed",
    )  # fmt: skip
    _filters(tail)


def _filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--name", type=some_text, metavar="PATTERN", help="only events of this name; * stands for anything"
    )
    parser.add_argument(
        "--outcome",
        choices=HAPPENINGS,
        metavar="OUTCOME",
        help=f"only where this happened: {', '.join(HAPPENINGS)}",
    )
    parser.add_argument("--key", type=some_text, metavar="KEY", help="only events with this ordering key")


def _show(arguments: argparse.Namespace) -> int:
    handlers = handlers_in(arguments.target)
    known = [
        (each, event) for each in journals(handlers) for event in each.find(arguments.id, limit=_AT_MOST)
    ]
    stored = list(held(handlers, arguments.id))
    lives = [life_of(journal, event) for journal, event in known]
    asks = bool(arguments.id) and _may_be_queued(lives, stored)
    queued = in_queues(handlers, arguments.id) if asks else None
    found = [*stored, *(queued.found if queued is not None else ())]
    ids = {event.id for _, event in known} | {each.id for each in found}
    if not ids and arguments.id:
        raise NotThereError(_nowhere(arguments.id, handlers, queued))
    id_ = only(ids, arguments.id, what="event", listing=_LISTING)
    found = [each for each in found if each.id == id_]
    told = [(journal, life) for (journal, event), life in zip(known, lives, strict=True) if event.id == id_]
    if told:
        journal, life = told[0]
        _show_life(arguments, journal, life, places_now(life, found, queued, time.time()), queued)
    else:
        _show_found(arguments, found, queued)
    return 0


def _may_be_queued(lives: list[Life], stored: list[Found]) -> bool:
    """Whether brokers are to be asked: no journal knows of the event, or it supposes that they have it."""
    if not lives:
        return True
    places = [place for life in lives for place in places_of(life, time.time())]
    return not stored and any(each.where in ("queue", "worker") for each in places)


def _show_life(
    arguments: argparse.Namespace,
    journal: Journal,
    life: Life,
    places: list[Place],
    queued: QueueContents | None,
) -> None:
    if arguments.json:
        say_json({**data_of(life), **_now(places, queued)})
        return
    for line in lines_of(life, causes_of(journal, life.event), places):
        say(line)
    _say_unseen(queued)


def _show_found(arguments: argparse.Namespace, found: list[Found], queued: QueueContents | None) -> None:
    first = found[0]
    places = [each.place for each in found]
    if arguments.json:
        say_json(
            {"id": first.id, "name": first.name, "envelope": first.envelope, **_now(places, queued)},
        )
        return
    say(f"{shown(first.name or '?')} {shown(first.id)}")
    say(f"\n{shown(first.envelope)}")
    for each in places:
        say(f"\nNow {shown(each.text)}")
    _say_unseen(queued)
    say("\nThere is no journal, or it does not know of this event: what happened to it before is not known.")


def _now(places: list[Place], queued: QueueContents | None) -> dict[str, Any]:
    return {
        "now": [{"where": each.where, "text": each.text} for each in places],
        "unseen": [] if queued is None else queued.unseen,
    }


def _say_unseen(queued: QueueContents | None) -> None:
    for text in () if queued is None else queued.unseen:
        say(f"\nNot looked at: {shown(text)}")


def _nowhere(prefix: str, handlers: list[TaskQueueHandler], queued: QueueContents | None) -> str:
    """Say where was looked, and where nobody can look."""
    parts = (
        ("the journal", "journal"),
        ("the outbox", "outbox"),
        ("the lanes", "lanes"),
        ("the dead letters", "dead_letters"),
    )
    looked = [name for name, part in parts if any(getattr(each, part) is not None for each in handlers)]
    looked.append("the queues")
    where = f"{', '.join(looked[:-1])} and {looked[-1]}" if len(looked) > 1 else looked[0]
    text = f"There is no event {shown(repr(prefix))} in {where}"
    unseen = "".join(f" Not looked at: {shown(each)}." for each in (() if queued is None else queued.unseen))
    if any(each.journal is not None for each in handlers):
        return f"{text}; `{_LISTING}` shows what there is.{unseen}"
    return (
        f"{text}.{unseen} It may have been handled: only a journal can tell, which store= or journal= gives "
        "a handler."
    )


def _list(arguments: argparse.Namespace) -> int:
    since = None if arguments.since is None else datetime.now(UTC) - arguments.since
    own = _names(arguments)
    found = [
        event
        for journal in journals_of(arguments.target)
        for event in events_of(
            journal, own, limit=arguments.limit, name=arguments.name, outcome=arguments.outcome,
            since=since, ordering_key=arguments.key,
        )[0]
    ]  # fmt: skip
    if not found and arguments.name is not None:
        _check_name(arguments)
    if arguments.json:
        for event in found:
            say_json(
                {
                    "id": event.id, "name": event.name, "state": state_of(event.outcomes),
                    "outcomes": sorted(event.outcomes, key=HAPPENINGS.index),
                    "first_at": moment(event.first_at), "last_at": moment(event.last_at),
                    "cause": event.cause, "correlation": event.correlation,
                    "ordering_key": event.ordering_key,
                }
            )  # fmt: skip
        return 0
    if not found:
        say("No such events." if arguments.outcome or arguments.key or since else "No events.")
        return 0
    rows = [
        (
            shown(each.id), local(moment(each.first_at)), local(moment(each.last_at)), shown(each.name, 40),
            state_of(each.outcomes),
        )
        for each in found
    ]  # fmt: skip
    say(table(("ID", "FIRST", "LAST", "EVENT", "OUTCOME"), rows))
    return 0


def _names(arguments: argparse.Namespace) -> set[str]:
    """The target's handlers: others may share its journal."""
    return {each.name for each in handlers_in(arguments.target)}


def _check_name(arguments: argparse.Namespace) -> None:
    """Say it where there is no event of that name at all.

    Raises:
        NotThereError: With the closest name that there is.
    """
    several, own = journals_of(arguments.target), _names(arguments)
    if not any(events_of(each, own, limit=1, name=arguments.name)[0] for each in several):
        names = {event.name for each in several for event in events_of(each, own, limit=1_000, most=1_000)[0]}
        raise NotThereError(
            f"The journal has no event {shown(repr(arguments.name))}{guess(arguments.name, names)}"
        )


def _tail(arguments: argparse.Namespace) -> int:
    several, own = journals_of(arguments.target), _names(arguments)
    began = datetime.now(UTC)
    seen: dict[Record, None] = {}
    while True:
        for record in _latest(several, own, arguments, began):
            if record not in seen:
                seen[record] = None
                is_read = say_json(record_data(record)) if arguments.json else say(line_of(record))
                if not is_read:
                    return 0
        end = (datetime.now(UTC) - 2 * _LATE).timestamp()
        seen = {each: None for each in seen if each.at >= end}
        time.sleep(_TAIL_EVERY_SECONDS)


def _latest(
    several: list[Journal], own: set[str], arguments: argparse.Namespace, began: datetime
) -> Iterator[Record]:
    """What has come in since a moment ago, in the order of time."""
    since = max(began, datetime.now(UTC) - _LATE)
    records = [
        record
        for journal in several
        for event in journal.events(
            limit=1_000, name=arguments.name, outcome=arguments.outcome, since=since,
            ordering_key=arguments.key,
        )
        for record in journal.records(event.id)
        if record.at >= since.timestamp()
        and arguments.outcome in (None, record.what)
        and (record.handler is None or record.handler in own)
    ]  # fmt: skip
    return iter(sorted(records, key=lambda each: each.at))


def journals_of(target: str) -> list[Journal]:
    """The journals of a target's handlers.

    Raises:
        ConfigurationError: When there is none.
    """
    handlers = handlers_in(target)
    found = journals(handlers)
    if not found:
        names = ", ".join(each.name for each in handlers)
        raise ConfigurationError(f"{names} has no journal; pass store= or journal= to the handler.")
    return found
