"""What every engine does with what fails: the same decisions, the same dead letters."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dramatiq.brokers.stub import StubBroker

from examples.custom_engine.engine import TableEngine
from fastapi_events import clock, under_test
from fastapi_events.errors import InvalidPayload
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue import Message, TaskQueueHandler
from fastapi_events.handlers.task_queue.messages import message_id
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.testing.faults import Faults
from fastapi_events.testing.inline_engine import InlineBroker, InlineEngine
from tests.places import QUICK, Dead, Dramatiq, QueuePlace, celery_on_redis
from tests.recording import Diary


class OnTable(QueuePlace):
    """The engine of the examples, whose worker is the test."""

    def __init__(self, path: Path, **settings: Any) -> None:
        super().__init__()
        self.engine = TableEngine(path)
        self.handler = TaskQueueHandler(self.engine, **{"retry": QUICK, "unknown_retry": QUICK, **settings})

    def work(self) -> None:
        pass

    def settle(self) -> None:
        worker = threading.Thread(target=self._work_off)
        worker.start()
        worker.join(30)
        assert not self.engine.waiting(), "the table does not become empty"

    def _work_off(self) -> None:
        deadline = time.monotonic() + 30
        while self.engine.waiting() and time.monotonic() < deadline:
            if not self.engine.work_once():
                time.sleep(0.001)

    def send(self, *arguments: Any, task: str | None = None, queue: str = "events") -> None:
        text = arguments[0] if isinstance(arguments[0], str) else json.dumps(arguments[0])
        self.engine.send([Message(task or "fastapi_events.fan_out", queue, text, message_id(text))])

    def dead(self, queue: str = "events") -> list[Dead]:
        return [Dead(task, (), {"reason": reason}) for task, reason in self.engine.kept()]

    def close(self) -> None:
        pass


class Inline(QueuePlace):
    """The engine of the testing kit, by its own clock."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.broker = InlineBroker(Faults())
        self.engine = InlineEngine(ListEngine(), self, self.broker)
        self.handler = TaskQueueHandler(self.engine, **{"retry": QUICK, "unknown_retry": QUICK, **settings})

    def work(self) -> None:
        pass

    def settle(self) -> None:
        worker = threading.Thread(target=self._work_off)
        worker.start()
        worker.join(30)

    def _work_off(self) -> None:
        while (due := self.broker.next_due(asked_for=True)) is not None:
            under_test.seconds_ahead += max(due - clock.timestamp(), 0.0)
            waiting = self.broker.take()
            if waiting is not None:
                self.engine.deliver(waiting.message)

    def send(self, *arguments: Any, task: str | None = None, queue: str = "events") -> None:
        text = arguments[0] if isinstance(arguments[0], str) else json.dumps(arguments[0])
        self.engine.send([Message(task or "fastapi_events.fan_out", queue, text, message_id(text))])

    def dead(self, queue: str = "events") -> list[Dead]:
        return [Dead(each.subscription, (), {"reason": each.reason}) for each in self.engine.kept]

    def close(self) -> None:
        under_test.seconds_ahead = 0.0


class ListEngine(TableEngine):
    """What another stands in for: its name and its limits."""

    def __init__(self) -> None:
        pass


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(
    params=["dramatiq", pytest.param("celery", marks=pytest.mark.valkey), "table", "inline"],
)
def place(request: pytest.FixtureRequest, store: MemoryStore, tmp_path: Path) -> Iterator[QueuePlace]:
    settings: dict[str, Any] = {"dead_letters": store.dead_letters, "lanes": store.lanes}
    if request.param == "celery":
        with celery_on_redis(request.getfixturevalue("valkey_url"), **settings) as celery:
            yield celery
        return
    place: QueuePlace
    if request.param == "dramatiq":
        place = Dramatiq(StubBroker(), **settings)
    elif request.param == "inline":
        place = Inline(**settings)
    else:
        place = OnTable(tmp_path / "events.db", **settings)
    yield place
    place.close()


def only(store: MemoryStore) -> DeadLetter:
    [letter] = store.dead_letters.list()
    return letter


def test_the_same_failure_leaves_the_same_letter(place: QueuePlace, store: MemoryStore, diary: Diary) -> None:
    @place.handler.register(event_name="bad", name="hopeless")
    def hopeless(event: Event) -> None:
        raise ValueError("never")

    place.dispatch("bad", {"n": 1})

    letter = only(store)
    assert (letter.subscription, letter.queue, letter.event_name) == ("hopeless", "events", "bad")
    assert letter.id == message_id(str(letter.event_id), "hopeless")
    assert (letter.handler, letter.attempts, letter.reason) == (place.handler.name, 3, "ValueError: never")
    assert json.loads(letter.argument)["data"] == {"n": 1}
    assert 'raise ValueError("never")' in letter.traceback
    assert letter.first_at.isoformat() == json.loads(letter.argument)["time"]
    hooks = [hook for hook, *_ in diary.entries if hook in ("failed", "retried", "dead")]
    assert hooks == ["failed", "retried", "failed", "retried", "failed", "dead"]


def test_what_no_retry_can_mend_is_given_up_at_once(place: QueuePlace, store: MemoryStore) -> None:
    @place.handler.register(event_name="bad", name="hopeless")
    def hopeless(event: Event) -> None:
        raise InvalidPayload("does not fit")

    place.dispatch("bad")

    assert (only(store).attempts, only(store).reason) == (1, "InvalidPayload: does not fit")


def test_a_payload_that_is_hopeless_in_a_batch_is_given_up_once(
    place: QueuePlace, store: MemoryStore, diary: Diary
) -> None:
    @place.handler.register(event_name="bad", name="many", batch=10, batch_window=0.0)
    def many(events: list[Event]) -> None:
        raise InvalidPayload("does not fit")

    place.dispatch("bad")

    assert only(store).attempts == 1
    assert [hook for hook, *_ in diary.entries if hook in ("failed", "retried", "dead")] == ["failed", "dead"]


def test_the_attempt_in_a_batch_counts(place: QueuePlace, store: MemoryStore) -> None:
    calls: list[int] = []

    @place.handler.register(event_name="bad", name="many", batch=10, batch_window=0.0)
    def many(events: list[Event]) -> None:
        calls.append(len(events))
        raise ValueError("never")

    place.dispatch("bad")

    assert (len(calls), only(store).attempts) == (3, 3)


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt()], ids=repr)
def test_an_error_that_would_end_the_process_is_the_events_failure(
    place: QueuePlace, store: MemoryStore, error: BaseException
) -> None:
    ran: list[str] = []

    @place.handler.register(event_name="bad", name="ends")
    def ends(event: Event) -> None:
        raise error

    place.handler.register(lambda event: ran.append(event.name), event_name="bad", name="sibling")

    place.dispatch("bad")

    assert (only(store).attempts, only(store).reason.split(":")[0]) == (3, "FunctionExited")
    assert type(error).__name__ in only(store).reason
    assert ran == ["bad"]


def test_a_message_for_nobody_is_kept_after_a_while(place: QueuePlace, store: MemoryStore) -> None:
    text = '{"specversion":"1.0","id":"1","source":"shop","type":"x"}'
    place.work()

    place.send(text, task="not.deployed.yet")
    place.settle()

    letter = only(store)
    assert (letter.subscription, letter.attempts, letter.event_id) == ("not.deployed.yet", 3, "1")
    assert letter.reason == "UnknownSubscription: no worker of this queue has 'not.deployed.yet'"
    assert letter.argument == text
    assert place.dead() == []


def test_what_is_no_event_is_kept(place: QueuePlace, store: MemoryStore) -> None:
    place.work()
    place.send("no JSON")
    place.settle()

    assert (only(store).argument, only(store).event_id) == ("no JSON", None)
    assert only(store).reason.startswith("UnreadableEnvelope")


def test_those_behind_one_that_is_given_up_go_on(place: QueuePlace, store: MemoryStore) -> None:
    got: list[int] = []

    @place.handler.register(event_name="a", name="one")
    def one(event: Event) -> None:
        if event.payload == 1:
            raise ValueError("never")
        got.append(event.payload)

    for number in (1, 2):
        place.dispatch("a", number, ordering_key="k")

    assert got == [2]
    assert only(store).attempts == 3


def test_without_a_store_the_engine_keeps_it(place: QueuePlace, store: MemoryStore) -> None:
    store.dead_letters.max_letters = 0

    @place.handler.register(event_name="bad", name="hopeless")
    def hopeless(event: Event) -> None:
        raise ValueError("never")

    place.dispatch("bad")

    assert place.reasons() == ["ValueError: never"]
