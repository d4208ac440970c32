"""Where an event is: what outboxes, lanes and dead letters hold, and what the journal lets one suppose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from fastapi_events import redaction
from fastapi_events.envelope import unseal
from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.event import wire_name
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.lives import Fate, Life
from fastapi_events.storage.base import Store, moment
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.journal import Journal, Record
from fastapi_events.storage.lanes import Head, Waiting
from fastapi_events.storage.letters import LetterFilter, matching_letters
from fastapi_events.storage.outbox import Entry, Outbox

S = TypeVar("S", bound=Store)

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event is now.

    Parameters:
        where: `outbox`, `lane`, `dead letters`, `queue`, `worker`, `lost`, `nobody listens` or `discarded`.
        text: The same in a sentence.
    """

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """An event that a store holds itself, rather than tell of it.

    Parameters:
        id: The event's id.
        name: Its name, where it can be read.
        place: Where it is.
        envelope: The event as it travels, JSON, as people may see it.
    """

    id: str
    name: str | None
    place: Place
    envelope: str


def journals(handlers: Iterable[TaskQueueHandler]) -> list[Journal]:
    """The journals of handlers, each once."""
    return _places(each.journal for each in handlers)


def _places(stores: Iterable[S | None]) -> list[S]:
    """Stores, one of each place."""
    return list({each.place: each for each in stores if each is not None}.values())


def held(handlers: Iterable[TaskQueueHandler], prefix: str) -> Iterator[Found]:
    """The events that outboxes, lanes and dead letters hold, and whose ids begin with a prefix.

    Raises:
        StorageError: When a store cannot be asked.
    """
    known = list(handlers)
    yield from _in_outboxes(known, lambda outbox: outbox.find(prefix, limit=_PAGE))
    for handler in known:
        if handler.lanes is not None:
            for waiting in handler.lanes.find(handler.name, prefix):
                text = waiting.item.text
                yield Found(waiting.item.id, name_in(text), _in_lane(waiting), redaction.shown_text(text))
        if handler.dead_letters is not None:
            for letter in handler.dead_letters.find(prefix, handler=handler.name):
                shown = redaction.shown_text(letter.argument)
                yield Found(letter.event_id or prefix, letter.event_name, dead_place(letter), shown)


def keyed(handlers: Iterable[TaskQueueHandler], key: str, *, limit: int = 20) -> Iterator[Found]:
    """The events with an ordering key that outboxes, lanes and dead letters hold; of a lane the first.

    Parameters:
        limit: How many of each store, at most.

    Raises:
        StorageError: When a store cannot be asked.
    """
    known = list(handlers)
    yield from _in_outboxes(known, lambda outbox: outbox.of_key(key, limit=limit))
    wanted = LetterFilter(ordering_key=key)
    for handler in known:
        if handler.lanes is not None:
            for head in handler.lanes.heads(handler.name, limit=_PAGE):
                if head.lane.key == key:
                    text = head.item.text
                    yield Found(head.item.id, name_in(text), _at_head(head), redaction.shown_text(text))
        if handler.dead_letters is not None:
            for letter in islice(matching_letters(handler.dead_letters, handler.name, wanted), limit):
                shown = redaction.shown_text(letter.argument)
                yield Found(letter.event_id or letter.id, letter.event_name, dead_place(letter), shown)


def _in_outboxes(
    handlers: Sequence[TaskQueueHandler], look: Callable[[Outbox], Iterable[Entry]]
) -> Iterator[Found]:
    names = {each.name for each in handlers}
    for outbox in _places(each.outbox for each in handlers):
        for entry in look(outbox):
            if entry.destination in names:
                yield Found(
                    entry.id,
                    name_in(entry.envelope),
                    _in_outbox(entry),
                    redaction.shown_text(entry.envelope),
                )


def places_of(life: Life, now: float) -> list[Place]:
    """Where an event seems to be, by what the journal knows; none where everything is done."""
    records = life.records
    happened = {each.what for each in records}
    fates = life.fates
    if not fates and "fanned_out" not in happened:
        return [_before_fan_out(records, now)] if records else []
    return [place for each in fates if (place := _of_fate(each)) is not None]


def _before_fan_out(records: Sequence[Record], now: float) -> Place:
    # A worker may be done with it before the process that published it has noted the broker's answer.
    last = next((each for each in records if each.what == "unmatched"), records[-1])
    if last.what == "lost":
        return Place("lost", f"{last.handler} has lost it: {last.error}")
    if last.what == "discarded":
        return Place("discarded", "it was discarded: its scope's flush policy or transaction said so")
    if last.what == "unmatched":
        return Place("nobody listens", f"nobody listens to {last.event_name!r} in {last.handler}")
    wait = next((each.wait for each in records if each.what == "dispatched"), None)
    due = None if wait is None else records[0].at + wait
    until = f", to be handled at {local_time(due)}" if due and due > now else ""
    published = next((each for each in records if each.what == "published"), None)
    if published is not None:
        return Place("queue", f"in the queue of {published.handler}, or with a worker{until}")
    if last.what == "stored":
        return Place("queue", f"it was in the outbox of {last.handler}, and a relay has published it{until}")
    return Place("worker", f"with the process {last.process}, which has not published it yet{until}")


def _of_fate(fate: Fate) -> Place | None:
    if fate.state in ("waiting", "replayed"):
        queue = f"in the queue {fate.queue}" if fate.queue else "in a queue"
        return Place("queue", f"{queue}, for {fate.subscription}")
    if fate.state == "retried":
        wait = fate.attempts[-1].wait if fate.attempts else None
        due = "" if wait is None else f" at {local_time(fate.since + wait)}"
        return Place("queue", f"{fate.subscription} has failed, and tries again{due}")
    if fate.state == "running":
        return Place("worker", f"{fate.subscription} runs in {fate.attempts[-1].process}")
    return None


def _in_outbox(entry: Entry) -> Place:
    due = "" if entry.due is None else f", due at {local_time(entry.due.timestamp())}"
    return Place("outbox", f"in the outbox, for {entry.destination}{due}")


def _in_lane(waiting: Waiting) -> Place:
    key, target = waiting.lane.key, waiting.lane.target
    before = f"{waiting.ahead} before it" if waiting.ahead else "as the first"
    return Place("lane", f"in the lane of {key!r}, {before}, for {target}")


def _at_head(head: Head) -> Place:
    of = f" of {head.size}" if head.size > 1 else ""
    return Place("lane", f"in the lane of {head.lane.key!r}, as the first{of}, for {head.lane.target}")


def dead_place(letter: DeadLetter, *, by: str = "") -> Place:
    """Where the event of a dead letter is.

    Parameters:
        by: Who keeps it, where that is not the store.
    """
    kept = f", kept by {by} itself" if by else ""
    return Place("dead letters", f"dead letter {letter.id} of {letter.subscription}{kept}: {letter.reason}")


def name_in(envelope: str) -> str | None:
    """The name of the event in an envelope; None where it cannot be read."""
    try:
        return wire_name(unseal(envelope).name)
    except UnreadableEnvelope:
        return None


def local_time(seconds: float) -> str:
    """A moment on the clock of who reads."""
    return moment(seconds).astimezone().isoformat(sep=" ", timespec="seconds")
