"""Where an event is, and what became of it: what the journal, the outbox and the dead letters know."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from fastapi_events import redaction
from fastapi_events.envelope import unseal
from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.event import wire_name
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.storage.base import Store, moment
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.journal import Journal, JournalEvent, Record
from fastapi_events.storage.lanes import Head, Waiting
from fastapi_events.storage.letters import LetterFilter, matching_letters
from fastapi_events.storage.outbox import Entry, Outbox

S = TypeVar("S", bound=Store)

_PAGE = 1_000
_DEEPEST = 50
"""Events in a chain that are shown below one another; a cycle of them has no end."""


@dataclass(slots=True)
class Attempt:
    """An attempt of a subscription at an event.

    Parameters:
        at: When it started; seconds since 1970.
        process: Where.
        duration: Seconds that it took, once it has ended.
        error: Why it failed, if it did.
        wait: Seconds from its end to the next one.
    """

    at: float
    process: str
    duration: float | None = None
    error: str | None = None
    wait: float | None = None


@dataclass(slots=True)
class Fate:
    """What became of an event in one subscription of one handler.

    Parameters:
        subscription: Its name.
        queue: Where its messages wait.
        state: `waiting`, `running`, `failed`, `retried`, `succeeded`, `skipped`, `dead` or `replayed`.
        since: Since when; seconds since 1970.
        attempts: All that are known, the first one first.
        reason: Why it is dead.
        handler: Whose it is, where that is known: another one may have a function of this name, too.
    """

    subscription: str
    queue: str | None
    state: str
    since: float
    attempts: list[Attempt] = field(default_factory=list)
    reason: str | None = None
    handler: str | None = None


@dataclass(slots=True)
class Life:
    """All that the journal knows of an event.

    Parameters:
        event: Its summary.
        records: What happened to it, in the order of time.
        fates: What became of it in each subscription.
        children: The events that its functions dispatched.
    """

    event: JournalEvent
    records: Sequence[Record]
    fates: Sequence[Fate]
    children: Sequence[Life]

    @property
    def state(self) -> str:
        """What became of the event, in a word or two."""
        outcomes = self.event.outcomes
        if self.fates and all(each.state != "dead" for each in self.fates):
            outcomes -= {"dead"}  # what was given up was replayed since
        return state_of(outcomes)


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


# What has become of an event in all, the most pressing first.
_BY_WORTH = (
    "lost", "dead", "unmatched", "discarded", "replayed", "retried", "failed", "succeeded", "skipped",
    "started", "fanned_out", "published", "stored", "dispatched",
)  # fmt: skip


def state_of(outcomes: Collection[str]) -> str:
    """What became of an event, in a word or two; a subscription may have failed and another succeeded."""
    state = next((each for each in _BY_WORTH if each in outcomes), "")
    if state == "dead" and "replayed" in outcomes:
        return "dead, replayed"  # one after the other, or the other way round: that is not known here
    if state in ("retried", "failed", "replayed") and "succeeded" in outcomes:
        return f"{state}, succeeded"
    return state.replace("_", " ")


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


def life_of(journal: Journal, event: JournalEvent) -> Life:
    """What became of an event, and of those that it caused."""
    chain = journal.chain(event.correlation) if event.correlation is not None else [event]
    return _life(journal, event, chain, depth=0)


def causes_of(journal: Journal, event: JournalEvent) -> list[JournalEvent]:
    """The events that led to an event, the first one first, as far as they are known."""
    by_id = {each.id: each for each in journal.chain(event.correlation or event.id)}
    found: list[JournalEvent] = []
    cause = by_id.get(event.cause or "")
    while cause is not None and cause not in found and len(found) < _DEEPEST:
        found.append(cause)
        cause = by_id.get(cause.cause or "")
    return found[::-1]


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


def _life(journal: Journal, event: JournalEvent, chain: Sequence[JournalEvent], *, depth: int) -> Life:
    records = journal.records(event.id)
    caused = [each for each in chain if each.cause == event.id and each.id != event.id]
    children = [_life(journal, each, chain, depth=depth + 1) for each in caused] if depth < _DEEPEST else []
    return Life(event, records, _fates(records), children)


def _fates(records: Iterable[Record]) -> list[Fate]:
    fates: dict[tuple[str | None, str], Fate] = {}
    for each in _replays_in_place(records):
        for name in each.to:
            fates.setdefault((each.handler, name), Fate(name, None, "waiting", each.at, handler=each.handler))
        if each.subscription is None:
            continue
        of = each.handler, each.subscription
        if of not in fates:  # not all that happens to a function names the handler
            same = (known for known in fates if known[1] == of[1] and None in (known[0], of[0]))
            of = next(same, of)
        fate = fates.setdefault(
            of, Fate(each.subscription, each.queue, "waiting", each.at, handler=each.handler)
        )
        fate.queue = each.queue or fate.queue
        _follow(fate, each)
    return list(fates.values())


def _replays_in_place(records: Iterable[Record]) -> Iterator[Record]:
    """Records without the replays that were told of late: the function had begun before.

    Who replays learns last that the broker has the message; a worker may have handled it by then.
    """
    dead: set[str | None] = set()
    begun_again: set[str | None] = set()
    for each in records:
        of = each.subscription
        if each.what == "dead":
            dead.add(of)
        elif each.what == "started" and of in dead:
            dead.discard(of)
            begun_again.add(of)
        elif each.what == "replayed":
            if of in begun_again:
                begun_again.discard(of)
                continue
            dead.discard(of)
        yield each


def _follow(fate: Fate, record: Record) -> None:
    """Let a fate be what it is after one more thing has happened."""
    attempts = fate.attempts
    if record.what == "started":
        attempts.append(Attempt(record.at, record.process))
    elif record.what in ("failed", "succeeded") and attempts:
        attempts[-1].duration = record.duration
        attempts[-1].error = record.error
    elif record.what == "retried" and attempts:
        attempts[-1].wait = record.wait
        attempts[-1].error = attempts[-1].error or record.error
    elif record.what == "dead":
        fate.reason = record.error
    if record.what == "succeeded":
        fate.reason = None  # it was dead before
    fate.state = {"started": "running"}.get(record.what, record.what)
    fate.since = record.at


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
