"""What the counters of journals come to: for each minute, each event name and each subscription."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from fastapi_events.storage.journal import BUCKETS, Count, CountPart, Journal

_OVER: Final = BUCKETS[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a screen shows of an hour's counts: journals add up that, and no more.

    Parameters:
        by: What is told apart.
        measures: What is counted; all if not given.
        charted: What is shown minute by minute.
        charted_by: What is told apart there beside the minute.
    """

    by: tuple[CountPart, ...]
    measures: tuple[str, ...] | None = None
    charted: tuple[str, ...] = ()
    charted_by: tuple[CountPart, ...] = ()


IN_ALL: Final = Question(
    by=("handler", "subscription"),
    measures=("dispatched", "succeeded", "failed", "dead"),
    charted=("dispatched", "succeeded", "failed"),
    charted_by=("handler",),
)
OF_EVENTS: Final = Question(
    by=("event_name", "handler"),
    measures=(
        "dispatched", "stored", "published", "fanned_out", "unmatched", "started", "failed", "lost", "age",
        *(f"age<={bound:g}" for bound in BUCKETS),
    ),
    charted=("dispatched",),
    charted_by=("event_name",),
)  # fmt: skip
OF_SUBSCRIPTIONS: Final = Question(by=("handler", "subscription"))

Function: TypeAlias = tuple[str, str]
"""A handler, and a subscription of it."""


@dataclass(slots=True)
class Tally:
    """How often what happened, and how long it took.

    Parameters:
        happened: How often each thing happened.
        minutes: The same for each minute, of what is charted.
        buckets: The histograms: of `duration` and of `age`, by upper bound.
    """

    happened: Counter[str] = field(default_factory=Counter)
    minutes: dict[int, Counter[str]] = field(default_factory=dict)
    buckets: dict[str, Counter[float]] = field(default_factory=dict)

    def add(self, count: Count) -> None:
        """Count once more, whenever it was."""
        measure, below, bound = count.measure.partition("<=")
        if below or measure in ("duration", "age"):
            upper = float(bound) if below else float("inf")
            self.buckets.setdefault(measure, Counter())[upper] += count.count
            return
        self.happened[measure] += count.count

    def add_to_minute(self, count: Count) -> None:
        """Count for its minute what has been counted already."""
        self.minutes.setdefault(count.minute, Counter())[count.measure] += count.count

    def quantile(self, measure: str, share: float) -> float | None:
        """Seconds that so large a share of all did not exceed; the upper bound of its bucket.

        Parameters:
            measure: `duration` or `age`.
            share: Such as 0.95.
        """
        buckets = self.buckets.get(measure)
        if not buckets:
            return None
        wanted, seen = share * sum(buckets.values()), 0
        for bound in sorted(buckets):
            seen += buckets[bound]
            if seen >= wanted:
                return min(bound, _OVER)
        return _OVER

    def series(self, measure: str, *, until: float, minutes: int) -> list[int]:
        """How often something happened in each of the last minutes, the first one first."""
        last = int(until // 60) * 60
        begin = last - 60 * (minutes - 1)
        return [self.minutes.get(at, Counter())[measure] for at in range(begin, last + 60, 60)]


@dataclass(frozen=True, slots=True)
class Tallies:
    """What was counted, in all and by whom it concerns.

    Parameters:
        all: Everything.
        events: By the event's name.
        subscriptions: By the handler and the subscription.
        are_shared: Whether other handlers write into the journals, whose dispatches are in `all` as well.
    """

    all: Tally
    events: Mapping[str, Tally]
    subscriptions: Mapping[Function, Tally]
    are_shared: bool = False

    def failing(self, limit: int = 8) -> Sequence[tuple[Function, Tally]]:
        """The subscriptions that fail most."""
        found = [(of, each) for of, each in self.subscriptions.items() if each.happened["failed"]]
        return sorted(found, key=lambda pair: (-pair[1].happened["failed"], pair[0]))[:limit]


def tallies_since(
    journals: Iterable[Journal], since: datetime, question: Question, handlers: Collection[str]
) -> Tallies:
    """What journals have counted since a time, of some of the handlers that share them.

    Dispatches are counted for no handler: those of names of which other handlers alone tell are left out.

    Parameters:
        journals: Each adds by itself; what comes of an hour's counts is read, and not the counts.
        question: What of it.
        handlers: Their names.
    """
    all_of_them, events, subscriptions = Tally(), dict[str, Tally](), dict[Function, Tally]()
    are_shared = False
    for journal in journals:
        sums = journal.sums(since, by=question.by, measures=question.measures)
        own = {each.event_name for each in sums if each.handler in handlers}
        foreign = {each.event_name for each in sums if each.handler and each.event_name} - own
        are_shared = are_shared or any(each.handler and each.handler not in handlers for each in sums)
        meant = _Meant(handlers, foreign)
        for each in filter(meant, sums):
            all_of_them.add(each)
            if each.event_name:
                events.setdefault(each.event_name, Tally()).add(each)
            if each.subscription:
                subscriptions.setdefault((each.handler, each.subscription), Tally()).add(each)
        for each in filter(meant, _by_minute(journal, since, question)):
            all_of_them.add_to_minute(each)
            if each.event_name:
                events.setdefault(each.event_name, Tally()).add_to_minute(each)
    return Tallies(all_of_them, events, subscriptions, are_shared)


@dataclass(frozen=True, slots=True)
class _Meant:
    """Tells counts of some handlers, and of no handler, from those of others.

    Parameters:
        handlers: Their names.
        foreign: The names of events of which others alone tell.
    """

    handlers: Collection[str]
    foreign: Collection[str]

    def __call__(self, count: Count) -> bool:
        is_theirs = not count.handler or count.handler in self.handlers
        return is_theirs and count.event_name not in self.foreign


def _by_minute(journal: Journal, since: datetime, question: Question) -> Sequence[Count]:
    if not question.charted:
        return ()
    return journal.sums(since, by=("minute", *question.charted_by), measures=question.charted)
