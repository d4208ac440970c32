"""What became of an event, as a tree for the terminal and as plain data for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi_events.cli.text import local, shown
from fastapi_events.lives import Attempt, Fate, Life, state_of
from fastapi_events.storage.base import moment
from fastapi_events.storage.journal import JournalEvent, Record
from fastapi_events.whereabouts import Place


def lines_of(life: Life, causes: Sequence[JournalEvent], places: Sequence[Place]) -> Iterator[str]:
    """The tree: what led to the event, the event with its subscriptions, and what they caused."""
    correlation = life.event.correlation
    first = causes[0] if causes else life.event
    if correlation not in (None, first.id):
        yield f"request {shown(correlation)}"
    for each in causes:
        yield f"caused by {shown(each.name)} {shown(each.id)}  {state_of(each.outcomes)}"
    yield from _event(life)
    if life.event.ordering_key is not None:
        yield f"\nordering key: {shown(life.event.ordering_key)}"
    if life.event.payload is not None:
        yield f"\npayload: {shown(life.event.payload)}"
    for place in places:
        yield f"\nNow {shown(place.text)}"


def data_of(life: Life) -> dict[str, Any]:
    """What became of an event, as plain data."""
    event = life.event
    return {
        "id": event.id, "name": event.name, "state": life.state,
        "first_at": moment(event.first_at), "last_at": moment(event.last_at), "cause": event.cause,
        "correlation": event.correlation, "ordering_key": event.ordering_key, "payload": event.payload,
        "records": [record_data(each) for each in life.records],
        "subscriptions": [
            {
                **dataclasses.asdict(each),
                "since": moment(each.since),
                "attempts": [{**dataclasses.asdict(one), "at": moment(one.at)} for one in each.attempts],
            }
            for each in life.fates
        ],
        "children": [data_of(each) for each in life.children],
    }  # fmt: skip


def record_data(record: Record) -> dict[str, Any]:
    """A record as plain data, without empty fields."""
    values = {each.name: getattr(record, each.name) for each in dataclasses.fields(record)}
    return {name: value for name, value in values.items() if value not in (None, ())} | {
        "at": moment(record.at)
    }


def line_of(record: Record) -> str:
    """A record as one line."""
    parts = [local(moment(record.at)), f"{record.what.replace('_', ' '):<10}", shown(record.event_name)]
    parts += [shown(record.event_id), shown(record.subscription or record.handler or "")]
    if record.duration is not None:
        parts.append(f"after {seconds(record.duration)}")
    if record.wait is not None:
        parts.append(
            f"next in {seconds(record.wait)}" if record.subscription else f"in {seconds(record.wait)}"
        )
    if record.error is not None:
        parts.append(shown(record.error, 200))
    return "  ".join(each for each in parts if each)


def seconds(value: float) -> str:
    """A length of time, as short as it can be read."""
    if value < 1:
        return f"{value * 1_000:.0f} ms"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"


def _event(life: Life) -> Iterator[str]:
    event = life.event
    began, state = local(moment(event.first_at)), life.state
    yield f"{shown(event.name)} {shown(event.id)}  {began}  {state}"
    branches: list[list[str]] = [[each] for each in _on_the_way(life.records)]
    branches += [list(_fate(each)) for each in life.fates]
    branches += [list(_event(each)) for each in life.children]
    yield from _below(branches)


def _below(branches: Sequence[Sequence[str]]) -> Iterator[str]:
    for branch in branches:
        is_last = branch is branches[-1]
        yield f"{'└─' if is_last else '├─'} {branch[0]}"
        yield from (f"{'  ' if is_last else '│ '} {line}" for line in branch[1:])


def _on_the_way(records: Sequence[Record]) -> Iterator[str]:
    """What happened to it outside of its subscriptions: what went well in one line, the rest line by line."""
    own = [each for each in records if each.subscription is None]
    plain = [each for each in own if each.error is None]
    if plain:
        began = own[0].at
        steps = [
            each.what.replace("_", " ") + (f" after {seconds(each.at - began)}" if each.at > began else "")
            for each in plain
        ]
        if plain[0].what == "dispatched":
            wait = f", to be handled in {seconds(plain[0].wait)}" if plain[0].wait else ""
            steps[0] += f" by {shown(plain[0].process)}{wait}"
        yield ", ".join(steps)
    for each in own:
        if each.error is not None:
            yield f"{each.what} by {each.handler}: {shown(each.error, 300)}"


def _fate(fate: Fate) -> Iterator[str]:
    queue = f" ({shown(fate.queue)})" if fate.queue else ""
    yield f"{shown(fate.subscription)}{queue}  {fate.state}" + (
        f": {shown(fate.reason, 300)}" if fate.reason else ""
    )
    yield from _below([[_attempt(number, each)] for number, each in enumerate(fate.attempts, 1)])


def _attempt(number: int, attempt: Attempt) -> str:
    text = f"attempt {number}  {local(moment(attempt.at))}  {shown(attempt.process)}"
    if attempt.duration is not None:
        text += f"  {'failed' if attempt.error else 'succeeded'} after {seconds(attempt.duration)}"
    if attempt.error:
        text += f": {shown(attempt.error, 300)}"
    return text + (f"; the next in {seconds(attempt.wait)}" if attempt.wait is not None else "")
