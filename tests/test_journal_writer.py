"""What a process tells a journal is written by a thread, and bounded where the journal is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from fastapi_events import journal_writer
from fastapi_events.errors import StorageError
from fastapi_events.event import Event
from fastapi_events.journal_buffer import MAX_BUFFERED
from fastapi_events.journal_writer import JournalWriter
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.recorder import recorder_of
from fastapi_events.storage.histories import History
from fastapi_events.storage.journal import Count
from fastapi_events.storage.memory import MemoryJournal
from tests.handlers.task_queue.broker import ListHandler
from tests.processes import until
from tests.test_recorder import dispatched, happened


class AwayJournal(MemoryJournal):
    """A journal that a test takes away."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.batches: list[int] = []
        self.refused: set[str] = set()

    def put(self, histories: Sequence[History], counts: Sequence[Count] = ()) -> None:
        if self.error is not None:
            raise self.error
        names = {each.name for each in histories} | {each.event_name for each in counts}
        if not self.refused.isdisjoint(names):
            raise StorageError("no")
        self.batches.append(sum(len(each.texts) for each in histories))
        super().put(histories, counts)


@pytest.fixture
def journal() -> AwayJournal:
    return AwayJournal()


@pytest.fixture
def handler(journal: AwayJournal) -> Iterator[ListHandler]:
    yield ListHandler(journal=journal)
    recorder_of(journal).flush(5.0)


def test_a_journal_that_is_away_costs_nothing_but_history(
    journal: AwayJournal, handler: ListHandler, caplog: pytest.LogCaptureFixture
) -> None:
    journal.error = StorageError("gone")

    with caplog.at_level(logging.WARNING):
        events = dispatched(handler, *["order"] * 3)
        recorder_of(journal).flush(5.0)
        recorder_of(journal).flush(5.0)

    assert len(handler.sent) == 1
    # Recorders of other tests may say what they have dropped; this one has dropped nothing, see below.
    said = [each for each in caplog.messages if not each.startswith("The journal has dropped")]
    assert said == ["The journal cannot be written: gone"]
    journal.error = None
    until(lambda: journal.records(events[0].id), "it is written once the journal is back")
    assert [each.what for each in journal.records(events[2].id)] == ["dispatched", "published"]
    assert recorder_of(journal).dropped == 0


def test_where_the_journal_does_not_keep_up_the_oldest_is_dropped_and_counted(
    journal: AwayJournal, handler: ListHandler, caplog: pytest.LogCaptureFixture
) -> None:
    journal.error = StorageError("gone")
    old = Event("old", None)
    tell(Lifecycle.dispatched, old)
    recorder_of(journal).flush(5.0)
    for _ in range(MAX_BUFFERED + 10):
        tell(Lifecycle.dispatched, Event("new", None))
    journal.error = None

    until(lambda: journal.batches, "the journal is written")
    recorder_of(journal).flush(5.0)

    assert recorder_of(journal).dropped == 11
    assert journal.records(old.id) == []
    assert sum(journal.batches) == MAX_BUFFERED
    assert max(journal.batches) <= 1_000


def test_a_fault_of_the_journal_harms_nobody(
    journal: AwayJournal, handler: ListHandler, caplog: pytest.LogCaptureFixture
) -> None:
    journal.error = RuntimeError("a bug")
    dispatched(handler, "order")
    recorder_of(journal).flush(5.0)

    assert "The journal cannot be written: a bug" in caplog.messages


def test_what_cannot_be_recorded_is_counted_and_stops_nothing(
    journal: AwayJournal, handler: ListHandler
) -> None:
    right, wrong = Event("cat"), Event("cat", dispatched_at=cast("Any", "yesterday"))

    tell(Lifecycle.started, wrong, subscription="feed")
    tell(Lifecycle.started, right, subscription="feed")

    assert happened(journal, right.id) == ["started"]
    assert recorder_of(journal).dropped == 1


def test_each_minute_is_counted_by_itself(journal: AwayJournal, handler: ListHandler) -> None:
    writer = JournalWriter(journal, recorder_of(journal))
    now = time.time() // 60 * 60
    for at in (now, now - 60, now + 1, now - 59, now - 1):
        writer.put("dispatched", Event("order", {}), at)
    writer.put_all("published", [Event("order", {}), Event("order", {})], now, "list:events")
    writer.is_wanted = False
    writer.work()

    counts = journal.counts(datetime.now(UTC) - timedelta(minutes=5))
    assert {(each.minute - now, each.measure): each.count for each in counts} == {
        (0, "dispatched"): 2, (-60, "dispatched"): 3, (0, "published"): 2,
    }  # fmt: skip
    assert writer.dropped == 0


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread writes nothing while the test runs."""
    monkeypatch.setattr(journal_writer, "_EVERY_SECONDS", 60.0)


@pytest.mark.usefixtures("by_hand")
def test_what_the_store_refuses_is_left_out_counted_and_told_and_the_rest_is_written(
    journal: AwayJournal, handler: ListHandler, caplog: pytest.LogCaptureFixture
) -> None:
    journal.refused = {"bad", "worse"}
    names = ["bad", *["good"] * 20, "worse", *["fine"] * 20]

    with caplog.at_level(logging.WARNING):
        events = dispatched(handler, *names)
        recorder_of(journal).flush(5.0)

    written = {each.id for each in journal.events(limit=100)}
    assert written == {each.id for each in events if each.name not in journal.refused}
    assert recorder_of(journal).dropped == 4
    assert "The journal's store refuses what happened to 1 event, the last: no" in caplog.messages
    counts = journal.counts(datetime.now(UTC) - timedelta(minutes=5))
    assert {each.event_name for each in counts} == {"good", "fine"}


def test_a_refused_event_that_comes_alone_waits_until_another_shows_that_the_store_is_there(
    journal: AwayJournal, handler: ListHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_writer, "_LONGEST_PAUSE_SECONDS", 0.0)
    journal.refused = {"bad"}
    dispatched(handler, "bad")
    recorder_of(journal).flush(5.0)
    assert recorder_of(journal).dropped == 0

    [good] = dispatched(handler, "good")

    until(lambda: journal.records(good.id), "the other is written")
    assert recorder_of(journal).dropped == 2


@pytest.mark.usefixtures("by_hand")
def test_a_store_that_goes_away_while_it_is_found_out_loses_little(
    journal: AwayJournal, handler: ListHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_writer, "_MOST_REFUSALS_IN_A_ROW", 3)
    journal.refused = {"bad"}
    events = dispatched(handler, *["bad"] * 50, "good")

    recorder_of(journal).flush(5.0)

    assert recorder_of(journal).dropped == 6
    assert [each.id for each in journal.events()] == [events[-1].id]
