"""A replay goes on no faster than it is to."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from fastapi_events.errors import ConfigurationError, InvalidSetting
from fastapi_events.handlers.task_queue.worker import replay
from fastapi_events.handlers.task_queue.worker.replay import Pace
from fastapi_events.storage.journal import Record
from fastapi_events.storage.letters import LetterFilter
from fastapi_events.storage.memory import MemoryJournal, MemoryStore
from tests.handlers.task_queue.broker import ListHandler
from tests.handlers.task_queue.worker.test_dead_letters_replayed import ids, letter
from tests.processes import until


class Time:
    """Time that passes only by being slept through."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Time:
    passing = Time()
    monkeypatch.setattr(replay, "time", passing)
    return passing


def test_so_many_letters_a_second_are_replayed(passing: Time) -> None:
    store = MemoryStore()
    handler = ListHandler(store=store, relay=False)
    for number in range(1_000):
        store.dead_letters.add(letter(number))
    began = passing.now

    done = [(passing.now - began, count) for count in handler.replay_all(rate=200.0)]

    assert sum(count for _, count in done) == 1_000
    sent = 0
    for at, count in done:
        assert count == 50
        assert sent <= 200 * at
        sent += count
    assert 4.5 <= passing.now - began <= 5.5


def test_a_slow_rate_is_one_letter_at_a_time(passing: Time) -> None:
    pace = Pace(0.5, None, None)
    assert pace.step == 1
    pace.wait()
    pace.replayed([letter(1)], since=passing.now)
    began = passing.now
    pace.wait()
    assert passing.now - began == 2.0


def test_without_a_limit_it_goes_page_by_page(passing: Time) -> None:
    pace = Pace(None, None, None)
    pace.replayed([letter(1)], since=passing.now)
    pace.wait()
    assert (pace.step, passing.now) == (500, 100.0)


def test_no_more_are_in_flight_than_allowed() -> None:
    store = MemoryStore()
    handler = ListHandler(store=store, relay=False)
    for number in range(5):
        store.dead_letters.add(letter(number))
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.extend(handler.replay_all(max_in_flight=2)))
    thread.start()

    def ended(what: Any, event_id: str) -> None:
        store.journal.write(
            [
                Record(
                    event_id=event_id, event_name="cat", what=what, at=time.time(), process="w:1",
                    subscription="feed", correlation=event_id,
                )
            ]
        )  # fmt: skip

    try:
        until(lambda: sum(done) == 2, "two letters are replayed")
        assert len(handler.sent) == 2
        kept = {each.id: str(each.event_id) for each in store.dead_letters.list()}
        assert len(kept) == 3
        first, second = (message.argument for message in handler.sent)
        ended("succeeded", first.partition('"id":"')[2].partition('"')[0])
        until(lambda: len(handler.sent) == 3, "the third is replayed when one has ended")
        ended("dead", second.partition('"id":"')[2].partition('"')[0])
        until(lambda: len(handler.sent) == 4, "the fourth is replayed when another has")
        for message in list(handler.sent):
            ended("skipped", message.argument.partition('"id":"')[2].partition('"')[0])
        until(lambda: len(handler.sent) == 5, "the last is replayed")
        for message in list(handler.sent):
            ended("succeeded", message.argument.partition('"id":"')[2].partition('"')[0])
    finally:
        thread.join(30)
    assert not thread.is_alive()


def test_what_the_journal_never_tells_of_is_not_waited_for_without_end(passing: Time) -> None:
    pace = Pace(None, 1, MemoryJournal())
    pace.replayed([letter(1)], since=passing.now)

    pace.wait()

    assert 300 < passing.now - 100.0 < 302


def test_only_letters_that_a_filter_means_are_replayed() -> None:
    store = MemoryStore()
    handler = ListHandler(store=store, relay=False)
    for number in range(6):
        store.dead_letters.add(letter(number, reason="KeyError: x" if number % 2 else "ValueError: y"))

    assert sum(handler.replay_all(matching=LetterFilter(error="KeyError"))) == 3
    assert ids(handler) == ["m00001", "m00003", "m00005"]
    assert [each.id for each in store.dead_letters.list()] == ["m00000", "m00002", "m00004"]
    assert sum(handler.replay_all(subscription="other", matching=LetterFilter(error="ValueError"))) == 0


def test_limits_that_cannot_be_kept_are_refused() -> None:
    handler = ListHandler(dead_letters=MemoryStore().dead_letters)

    with pytest.raises(InvalidSetting, match="rate=0: expected a number of seconds"):
        handler.replay_all(rate=0)
    with pytest.raises(InvalidSetting, match="max_in_flight=0"):
        handler.replay_all(max_in_flight=0)
    with pytest.raises(ConfigurationError, match="max_in_flight needs a journal"):
        handler.replay_all(max_in_flight=5)
