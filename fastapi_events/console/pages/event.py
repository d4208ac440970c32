"""One event: what led to it, what became of it in each subscription, what it caused, and where it is."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from fastapi_events import clock
from fastapi_events.console.charts import Stretch, axis
from fastapi_events.console.copies import copies_of
from fastapi_events.console.page import Page
from fastapi_events.console.reads import Told
from fastapi_events.console.state import State
from fastapi_events.console.words import seconds
from fastapi_events.envelope import ORDERING_KEY
from fastapi_events.lives import Life, causes_of, concerns, life_of, state_of
from fastapi_events.storage.journal import Journal, JournalEvent
from fastapi_events.whereabouts import Found, Place, held, places_of

_PAYLOAD = "data"


@dataclass(frozen=True, slots=True)
class Story:
    """All that a journal knows of an event.

    Parameters:
        life: What became of it.
        causes: The events that led to it, the first one first.
    """

    life: Life
    causes: Sequence[JournalEvent]


async def read(state: State, request: Request) -> Page:
    """Read the screen."""
    id_ = request.path_params["id"]
    told, stores = await asyncio.gather(
        state.of_journals(("event", id_), lambda journal: _stories(journal, id_, state.names)),
        state.reads.ask("A store", ("held", id_), lambda: _held(state, id_)),
    )
    story = next(iter((told and told.value) or ()), None)
    kept = stores.value or []
    if story is None and not kept:
        values = _nowhere(state, id_, told, stores)
        title, status = ("The event is not found", 503) if values["troubles"] else ("No such event", 404)
        return Page("events", title, "no_event.html", values, status)
    name = story.life.event.name if story is not None else kept[0].name or "?"
    places = [each.place for each in kept] or ([] if story is None else _places(story.life))
    envelope = _envelope(kept)
    payload = _payload(envelope, story)
    return Page(
        "events", name, "event.html",
        {
            "id": id_, "name": name, "story": story, "places": places, "kept": kept, "told": told,
            "troubles": [each.trouble for each in (told, stores) if each is not None and each.trouble],
            "axis": None if story is None else axis([*_stretches(story.life)]),
            "headers": {key: value for key, value in envelope.items() if key != _PAYLOAD},
            "ordering_key": envelope.get(ORDERING_KEY) or (story and story.life.event.ordering_key),
            "payload": payload, "copies": [*copies_of(name, payload, {"id": id_, **envelope})],
            "is_kept": _is_kept(kept, story), "trace_id": _trace_id(envelope),
            "handler": _handler(state, story), "trace_url": state.trace_url, "state_of": state_of,
        },
    )  # fmt: skip


def _handler(state: State, story: Story | None) -> str:
    """The handler that it went to, as far as somebody knows."""
    records = () if story is None else story.life.records
    return (
        next((each.handler for each in records if state.named(each.handler)), None) or state.handlers[0].name
    )


def _stories(journal: Journal, id_: str, handlers: Collection[str]) -> list[Story]:
    return [
        Story(life_of(journal, each), causes_of(journal, each))
        for each in journal.find(id_, limit=2)
        if each.id == id_ and concerns(journal, each, handlers)
    ]


def _held(state: State, id_: str) -> list[Found]:
    return [each for each in held(state.handlers, id_) if each.id == id_]


def _places(life: Life) -> list[Place]:
    return places_of(life, clock.timestamp())


def _envelope(kept: Sequence[Found]) -> dict[str, Any]:
    """The event as it travels, as people may see it; empty where no store holds it."""
    for each in kept:
        try:
            value = json.loads(each.envelope)
        except ValueError:
            continue
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, dict):
            return value
    return {}


def _payload(envelope: dict[str, Any], story: Story | None) -> str | None:
    if _PAYLOAD in envelope:
        return json.dumps(envelope[_PAYLOAD], ensure_ascii=False)
    return None if story is None else story.life.event.payload


def _is_kept(kept: Sequence[Found], story: Story | None) -> bool:
    """Whether something has kept the payload that the event could be dispatched with again."""
    journalled = None if story is None else story.life.event.payload
    return journalled is not None or any(each.place.where == "dead letters" for each in kept)


def _trace_id(envelope: dict[str, Any]) -> str | None:
    parts = str(envelope.get("traceparent", "")).split("-")
    return parts[1] if len(parts) == 4 else None


def _nowhere(
    state: State, id_: str, told: Told[list[Story]] | None, stores: Told[list[Found]]
) -> dict[str, Any]:
    return {
        "id": id_, "has_journal": bool(state.journals),
        "troubles": [each.trouble for each in (told, stores) if each is not None and each.trouble],
    }  # fmt: skip


def _stretches(life: Life, now: float | None = None) -> Iterator[Stretch]:
    """The life of an event along time: on its way, and each attempt of each subscription."""
    now = clock.timestamp() if now is None else now
    for each in life.records:
        if each.subscription is None:
            kind = "bad" if each.what == "lost" else "step"
            yield Stretch("on its way", each.what.replace("_", " "), each.at, each.at, kind)
    names = Counter(each.subscription for each in life.fates)
    for fate in life.fates:
        is_one_of_several = names[fate.subscription] > 1
        row = f"{fate.subscription}, {fate.handler}" if is_one_of_several else fate.subscription
        if not fate.attempts:
            yield Stretch(row, fate.state, fate.since, fate.since, "step")
        for number, attempt in enumerate(fate.attempts, 1):
            runs = attempt.duration is None and attempt.error is None and fate.state == "running"
            end = now if runs else attempt.at + (attempt.duration or 0.0)
            kind = "bad" if attempt.error else "busy" if runs else "good"
            took = "" if attempt.duration is None else f", {seconds(attempt.duration)}"
            said = "failed" if attempt.error else "running" if runs else "succeeded"
            yield Stretch(row, f"attempt {number} {said}{took}", attempt.at, end, kind)
            if attempt.wait is not None:
                yield Stretch(row, f"waits {seconds(attempt.wait)}", end, end + attempt.wait, "wait")
    for child in life.children:
        yield Stretch(
            "caused", f"{child.event.name} dispatched", child.event.first_at, child.event.first_at, "step"
        )
