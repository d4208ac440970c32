"""What a process tells a journal is gathered as texts and counts, whose number has a bound."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from fastapi_events import journal_buffer
from fastapi_events.event import Event
from fastapi_events.journal_buffer import JournalBuffer
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.recorder import recorder_of
from fastapi_events.storage.memory import MemoryJournal
from tests.handlers.task_queue.broker import ListHandler
from tests.test_recorder import dispatched


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def handler(journal: MemoryJournal) -> Iterator[ListHandler]:
    yield ListHandler(journal=journal)
    recorder_of(journal).flush(5.0)


def test_an_ordering_key_is_kept_and_a_forged_one_fits(journal: MemoryJournal, handler: ListHandler) -> None:
    keys = (None, "user-7", "k" * 10_000)
    events = [Event("order", {}) for _ in keys]
    for event, key in zip(events, keys, strict=True):
        event.ordering_key = key
        tell(Lifecycle.dispatched, event)
    recorder_of(journal).flush(5.0)

    kept = {each.id: each.ordering_key for each in journal.events()}
    assert [kept[each.id] for each in events] == [None, "user-7", "k" * 254 + "…"]


def test_names_without_bound_are_counted_as_one(
    journal: MemoryJournal, handler: ListHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_buffer, "_MOST_NAMES", 2)
    dispatched(handler, "a", "b", "c", "d", "a")
    recorder_of(journal).flush(5.0)

    counts = journal.counts(datetime.now(UTC) - timedelta(minutes=5))
    found = {each.event_name: each.count for each in counts if each.measure == "dispatched"}
    assert found == {"a": 2, "b": 1, "(other)": 2}


def test_what_happens_is_counted_by_the_minute_with_histograms(
    journal: MemoryJournal, handler: ListHandler
) -> None:
    handler.register(lambda event: None, name="cook")
    dispatched(handler, "order", "order")
    handler.run()
    recorder_of(journal).flush(5.0)

    totals: dict[tuple[str, str, str], int] = {}
    for each in journal.counts(datetime.now(UTC) - timedelta(minutes=5)):
        key = each.event_name, each.subscription, each.measure.partition("<=")[0]
        totals[key] = totals.get(key, 0) + each.count
    assert totals == {
        ("order", "", "dispatched"): 2,
        ("order", "", "published"): 2,
        ("order", "", "fanned_out"): 2,
        ("order", "cook", "started"): 2,
        ("order", "cook", "succeeded"): 2,
        ("order", "cook", "age"): 2,
        ("order", "cook", "duration"): 2,
    }


def test_the_oldest_is_left_out_and_counted_where_too_much_waits(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_buffer, "MAX_BUFFERED", 3)
    buffer = JournalBuffer(recorder_of(journal))
    old, new = Event("old", {}), Event("new", {})

    for number, event in enumerate((old, old, new, new)):
        buffer.add("dispatched", event, float(number), None, None, None)

    assert list(buffer.waiting) == [new.id]
    assert (buffer.records, buffer.not_written) == (2, 2)


def test_a_batch_is_the_oldest_of_what_waits_until_it_is_forgotten(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_buffer, "BATCH", 2)
    buffer = JournalBuffer(recorder_of(journal))
    events = [Event("order", {}) for _ in range(3)]
    for event in events:
        buffer.add("dispatched", event, 0.0, None, None, None)

    first = buffer.batch()
    assert {each.id for each in first} == {each.id for each in events[:2]}
    for each in first:
        buffer.forget(each)
        buffer.forget(each)  # once is enough

    assert [each.id for each in buffer.batch()] == [events[2].id]
    assert buffer.records == 1
