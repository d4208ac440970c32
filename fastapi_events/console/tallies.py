"""What the counters of journals come to: for each minute, each event name and each subscription."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
)
OF_EVENTS: Final = Question(
    by=("event_name",),
    measures=("dispatched", "failed", "lost", "age", *(f"age<={bound:g}" for bound in BUCKETS)),
    charted=("dispatched",),
    charted_by=("event_name",),
)
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
    """

    all: Tally
    events: Mapping[str, Tally]
    subscriptions: Mapping[Function, Tally]

    def failing(self, limit: int = 8) -> Sequence[tuple[Function, Tally]]:
        """The subscriptions that fail most."""
        found = [(of, each) for of, each in self.subscriptions.items() if each.happened["failed"]]
        return sorted(found, key=lambda pair: (-pair[1].happened["failed"], pair[0]))[:limit]


def tallies_since(journals: Iterable[Journal], since: datetime, question: Question) -> Tallies:
    """What journals have counted since a time.

    Parameters:
        journals: Each adds by itself; what comes of an hour's counts is read, and not the counts.
        question: What of it.
    """
    all_of_them, events, subscriptions = Tally(), dict[str, Tally](), dict[Function, Tally]()
    for journal in journals:
        for each in journal.sums(since, by=question.by, measures=question.measures):
            all_of_them.add(each)
            if each.event_name:
                events.setdefault(each.event_name, Tally()).add(each)
            if each.subscription:
                subscriptions.setdefault((each.handler, each.subscription), Tally()).add(each)
        for each in _by_minute(journal, since, question):
            all_of_them.add_to_minute(each)
            if each.event_name:
                events.setdefault(each.event_name, Tally()).add_to_minute(each)
    return Tallies(all_of_them, events, subscriptions)


def _by_minute(journal: Journal, since: datetime, question: Question) -> Sequence[Count]:
    if not question.charted:
        return ()
    return journal.sums(since, by=("minute", *question.charted_by), measures=question.charted)
