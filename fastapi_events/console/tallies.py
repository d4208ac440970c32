"""What the counters of journals come to: for each minute, each event name and each subscription."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from fastapi_events.storage.journal import BUCKETS, Count, Journal

_OVER: Final = BUCKETS[-1]

CHARTED: Final = ("dispatched", "succeeded", "failed")
"""What is shown minute by minute."""


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
        subscriptions: By the subscription.
    """

    all: Tally
    events: Mapping[str, Tally]
    subscriptions: Mapping[str, Tally]

    def failing(self, limit: int = 8) -> Sequence[tuple[str, Tally]]:
        """The subscriptions that fail most."""
        found = [(name, each) for name, each in self.subscriptions.items() if each.happened["failed"]]
        return sorted(found, key=lambda pair: (-pair[1].happened["failed"], pair[0]))[:limit]


def tallies_since(journals: Iterable[Journal], since: datetime) -> Tallies:
    """What journals have counted since a time.

    Parameters:
        journals: Each adds by itself; what comes of an hour's counts is read, and not the counts.
    """
    all_of_them, events, subscriptions = Tally(), dict[str, Tally](), dict[str, Tally]()
    for journal in journals:
        for each in journal.sums(since, by=("event_name", "subscription")):
            all_of_them.add(each)
            events.setdefault(each.event_name, Tally()).add(each)
            if each.subscription:
                subscriptions.setdefault(each.subscription, Tally()).add(each)
        for each in journal.sums(since, by=("minute", "event_name"), measures=CHARTED):
            all_of_them.add_to_minute(each)
            events.setdefault(each.event_name, Tally()).add_to_minute(each)
    return Tallies(all_of_them, events, subscriptions)
