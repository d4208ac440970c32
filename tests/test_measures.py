"""What is measured, for whatever library exports it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from fastapi_events import lifecycle
from fastapi_events.event import Event
from fastapi_events.lifecycle import Lifecycle
from fastapi_events.measures import COUNTERS, GAUGES, HISTOGRAMS, MeasuringLifecycle, Reading


class Kept(MeasuringLifecycle):
    """Keeps what it would export."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[tuple[str, tuple[str, ...], int]] = []
        self.measured: list[tuple[str, tuple[str, ...], float]] = []

    def count(self, counter: str, labels: Sequence[str], number: int = 1) -> None:
        assert len(labels) == len(COUNTERS[counter][1])
        self.counted.append((counter, tuple(labels), number))

    def measure(self, histogram: str, labels: Sequence[str], seconds: float) -> None:
        assert len(labels) == len(HISTOGRAMS[histogram][1])
        self.measured.append((histogram, tuple(labels), seconds))


EVENT = Event("cat-fed", {})


def live_through_everything(observer: Lifecycle) -> None:
    """Call each hook once."""
    observer.dispatched(EVENT)
    observer.discarded(EVENT)
    observer.published([EVENT], handler="h")
    observer.stored([EVENT], handler="h", reason="r")
    observer.relayed(3, handler="h")
    observer.lost(EVENT, handler="h", reason="r")
    observer.fanned_out(EVENT, handler="h", subscriptions=["s"])
    observer.unmatched(EVENT, handler="h")
    observer.started(EVENT, subscription="s")
    observer.skipped(EVENT, subscription="s")
    observer.succeeded(EVENT, subscription="s")
    observer.failed([EVENT], handler="h", subscription="s", error=ValueError())
    observer.retried(EVENT, subscription="s", error=ValueError(), attempt=1, wait=1.0)
    observer.dead(None, subscription="s", reason="r", attempts=1)
    observer.replayed(EVENT, subscription="s")


def test_every_hook_of_the_lifecycle_has_its_counter() -> None:
    hooks = [name for name in vars(Lifecycle) if not name.startswith("_")]
    assert list(COUNTERS) == hooks

    observer = Kept()
    live_through_everything(observer)

    assert [counter for counter, _, _ in observer.counted] == hooks
    assert ("relayed", ("h",), 3) in observer.counted
    assert ("dead", ("unreadable", "s"), 1) in observer.counted
    assert ("failed", ("cat-fed", "h", "s"), 1) in observer.counted


def test_it_measures_publishing_age_and_handling() -> None:
    observer = Kept()
    old = Event("cat-fed", {}, dispatched_at=datetime.now(UTC) - timedelta(minutes=5))

    observer.published([old], handler="h")
    observer.started(old, subscription="s")
    observer.failed([old], handler="h", subscription="s", error=ValueError())

    [publishing, age, handling] = observer.measured
    assert publishing[:2] == ("publishing", ("cat-fed", "h"))
    assert 290 < publishing[2] < 900
    assert age[:2] == ("age", ("cat-fed", "s"))
    assert 290 < age[2] < 900
    assert handling[:2] == ("handling", ("cat-fed", "s"))
    assert 0 <= handling[2] < 60


def test_what_never_began_here_has_no_duration() -> None:
    observer = Kept()

    observer.succeeded(EVENT, subscription="s")
    observer.failed([EVENT], handler="h", subscription=None, error=ValueError())

    assert observer.measured == []


def test_it_is_an_observer_like_others() -> None:
    observer = Kept()
    lifecycle.observe(observer)
    try:
        lifecycle.tell(Lifecycle.dispatched, EVENT)
    finally:
        lifecycle.forget(observer)
    assert observer.counted == [("dispatched", ("cat-fed",), 1)]


def test_a_reading_has_a_value_for_each_label_of_its_gauge() -> None:
    reading = Reading("queue.ready", 1, ("h", "q"))
    assert len(reading.labels) == len(GAUGES[reading.gauge][1])
