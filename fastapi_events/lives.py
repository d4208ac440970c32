"""What became of an event in each subscription, and of those that it caused: what the journal knows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fastapi_events.storage.journal import Journal, JournalEvent, Record

_PAGE = 500
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


def concerns(journal: Journal, event: JournalEvent, handlers: Collection[str]) -> bool:
    """Whether something has happened to an event in one of these handlers.

    An event that nothing ties to a handler, such as one that has only been dispatched, may be theirs as well.
    """
    owners = {each.handler for each in journal.records(event.id) if each.handler is not None}
    return not owners or not owners.isdisjoint(handlers)


def events_of(
    journal: Journal,
    handlers: Collection[str],
    *,
    limit: int = 100,
    most: int | None = None,
    name: str | None = None,
    outcome: str | None = None,
    ordering_key: str | None = None,
    since: datetime | None = None,
    after: str | None = None,
) -> tuple[list[JournalEvent], str | None]:
    """The events that concern some of the handlers that share a journal, the latest first.

    Parameters:
        handlers: Their names.
        most: How many events are looked at, at most: those of others cost a look each.

    Returns:
        The events, and the cursor behind which older ones may be; None where there are none.
    """
    found: list[JournalEvent] = []
    seen = 0
    while most is None or seen < most:
        page = journal.events(
            limit=_PAGE, name=name, outcome=outcome, ordering_key=ordering_key, since=since, after=after
        )
        for each in page:
            after = each.cursor
            if concerns(journal, each, handlers):
                found.append(each)
                if len(found) == limit:
                    return found, after
        if len(page) < _PAGE:
            return found, None
        seen += len(page)
    return found, after


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
