"""What is measured, for whatever library exports it: names, meanings, and when something is counted.

OpenTelemetry has them as `fastapi_events.events.lost`, Prometheus as `fastapi_events_events_lost_total`.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from fastapi_events import clock
from fastapi_events.event import Event, wire_name
from fastapi_events.lifecycle import Lifecycle

COUNTERS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "dispatched": ("Events that were dispatched.", ("event",)),
    "discarded": ("Events that are not to be handled.", ("event",)),
    "published": ("Events that the broker has confirmed.", ("event", "handler")),
    "stored": ("Events that were kept in the outbox.", ("event", "handler")),
    "relayed": ("Events that a relay has published.", ("handler",)),
    "lost": ("Events that may not have arrived.", ("event", "handler")),
    "fanned_out": ("Events whose functions have a message each in the broker.", ("event", "handler")),
    "unmatched": ("Events that nobody listens to.", ("event", "handler")),
    "started": ("Attempts that have begun.", ("event", "subscription")),
    "skipped": ("Events that a function had completed before.", ("event", "subscription")),
    "succeeded": ("Attempts that have succeeded.", ("event", "subscription")),
    "failed": ("Attempts of a function, or of a whole handler, that have failed.",
               ("event", "handler", "subscription")),
    "retried": ("Failed attempts that another one follows.", ("event", "subscription")),
    "dead": ("Messages that were given up.", ("event", "subscription")),
    "replayed": ("Messages that were given up and sent once more.", ("event", "subscription")),
}  # fmt: skip
"""For each hook of `Lifecycle` what its counter counts, and the labels that it has."""

HISTOGRAMS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "publishing": ("Seconds from dispatch() until the broker has confirmed the event.", ("event", "handler")),
    "age": ("Seconds from dispatch() until an attempt of a function begins.", ("event", "subscription")),
    "handling": ("Seconds that an attempt of a function takes.", ("event", "subscription")),
}
"""What is measured in seconds, and the labels that it has."""

GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "queue.ready": ("Messages that no worker has taken.", ("handler", "queue")),
    "queue.in_hand": ("Messages that workers have taken and not acknowledged.", ("handler", "queue")),
    "queue.delayed": ("Messages that wait for their time.", ("handler", "queue")),
    "queue.dead": ("Messages given up that the engine keeps.", ("handler", "queue")),
    "queue.oldest": ("Seconds since the event of the next message was dispatched; 0 where none is ready.",
                     ("handler", "queue")),
    "queue.consumers": ("Connections that consume the queue, as the broker knows.", ("handler", "queue")),
    "queue.workers": ("Live workers that consume the queue.", ("handler", "queue")),
    "subscription.workers": ("Live workers that run the function.", ("handler", "queue", "subscription")),
    "workers": ("Live workers.", ("handler",)),
    "outbox.waiting": ("Events in the outbox that are not published yet.", ("handler",)),
    "outbox.unconfirmed": ("Events that are published, and wait for receipts.", ("handler",)),
    "outbox.oldest": ("Seconds since the oldest event of the outbox was added; 0 where it is empty.",
                      ("handler",)),
    "relays": ("Live relays, which publish what is in the outbox.", ("handler",)),
    "lanes": ("Ordering keys whose events wait, for each function that is behind with them.", ("handler",)),
    "lanes.oldest": ("Seconds since the oldest event that waits in a lane was dispatched; 0 where none does.",
                     ("handler",)),
    "dead_letters": ("Dead letters in the store.", ("handler",)),
    "problems": ("Things that need a person, as `fastapi-events status` names them.", ("handler",)),
}  # fmt: skip
"""What is read when somebody asks, and the labels that it has."""

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""Upper bounds of the histograms, in seconds."""

UNREADABLE: Final = "unreadable"
"""The name that stands for that of an event which cannot be read."""

_MOST_UNDER_WAY = 10_000


class Reading(NamedTuple):
    """The value of a gauge.

    Parameters:
        gauge: Its name, one of `GAUGES`.
        value: In what the gauge's description says.
        labels: A value for each of its labels.
    """

    gauge: str
    value: float
    labels: tuple[str, ...]


class MeasuringLifecycle(Lifecycle):
    """Counts what happens to events, and measures how long it takes; where to is a subclass's part."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, str], float] = {}

    @abstractmethod
    def count(self, counter: str, labels: Sequence[str], number: int = 1) -> None:
        """Add to a counter.

        Parameters:
            counter: One of `COUNTERS`.
            labels: A value for each of its labels; empty where it does not apply.
        """

    @abstractmethod
    def measure(self, histogram: str, labels: Sequence[str], seconds: float) -> None:
        """Add to a histogram.

        Parameters:
            histogram: One of `HISTOGRAMS`.
        """

    def dispatched(self, event: Event) -> None:
        self.count("dispatched", (wire_name(event.name),))

    def discarded(self, event: Event) -> None:
        self.count("discarded", (wire_name(event.name),))

    def published(self, events: Sequence[Event], *, handler: str) -> None:
        now = clock.timestamp()
        for event in events:
            labels = wire_name(event.name), handler
            self.count("published", labels)
            self.measure("publishing", labels, max(now - event.dispatched_at.timestamp(), 0.0))

    def stored(self, events: Sequence[Event], *, handler: str, reason: str) -> None:
        for event in events:
            self.count("stored", (wire_name(event.name), handler))

    def relayed(self, count: int, *, handler: str) -> None:
        self.count("relayed", (handler,), count)

    def lost(self, event: Event, *, handler: str, reason: str) -> None:
        self.count("lost", (wire_name(event.name), handler))

    def fanned_out(self, event: Event, *, handler: str, subscriptions: Sequence[str]) -> None:
        self.count("fanned_out", (wire_name(event.name), handler))

    def unmatched(self, event: Event, *, handler: str) -> None:
        self.count("unmatched", (wire_name(event.name), handler))

    def started(self, event: Event, *, subscription: str) -> None:
        labels = wire_name(event.name), subscription
        self.count("started", labels)
        self.measure("age", labels, max(clock.timestamp() - event.dispatched_at.timestamp(), 0.0))
        if len(self._under_way) < _MOST_UNDER_WAY:
            self._under_way[event.id, subscription] = time.perf_counter()

    def skipped(self, event: Event, *, subscription: str) -> None:
        self.count("skipped", (wire_name(event.name), subscription))

    def succeeded(self, event: Event, *, subscription: str) -> None:
        self.count("succeeded", (wire_name(event.name), subscription))
        self._ended(event, subscription)

    def failed(
        self, events: Sequence[Event], *, handler: str, subscription: str | None, error: BaseException
    ) -> None:
        for event in events:
            self.count("failed", (wire_name(event.name), handler, subscription or ""))
            if subscription is not None:
                self._ended(event, subscription)

    def retried(
        self, event: Event, *, subscription: str, error: BaseException, attempt: int, wait: float
    ) -> None:
        self.count("retried", (wire_name(event.name), subscription))

    def dead(self, event: Event | None, *, subscription: str, reason: str, attempts: int) -> None:
        self.count("dead", (UNREADABLE if event is None else wire_name(event.name), subscription))

    def replayed(self, event: Event, *, subscription: str) -> None:
        self.count("replayed", (wire_name(event.name), subscription))

    def _ended(self, event: Event, subscription: str) -> None:
        began = self._under_way.pop((event.id, subscription), None)
        if began is not None:
            self.measure("handling", (wire_name(event.name), subscription), time.perf_counter() - began)
