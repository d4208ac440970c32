"""What every engine does with what fails: the same decisions, the same dead letters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from fastapi_events import clock
from fastapi_events.errors import InvalidPayload
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.ids import named_id
from fastapi_events.lifecycle import forget, observe
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.testing.log import Log


class EnginePlace(Protocol):
    """A handler on the engine under test, and a worker for it."""

    handler: TaskQueueHandler
    """It has `retry=` and `unknown_retry=` with two quick retries, and the store's dead letters and lanes."""

    def dispatch(self, name: str, payload: Any = None, **options: Any) -> None:
        """Dispatch an event in a scope of its own, and wait until all that follows is done."""

    def work(self) -> None:
        """Start the worker, if `settle` does not."""

    def send(self, argument: str, /, *, task: str | None = None) -> None:
        """Put a message into the handler's queue: to its fan-out, if no other task is named."""

    def settle(self) -> None:
        """Wait until nothing waits, retries included.

        A worker that is a part of this process works in a thread of its own: in the main thread a
        KeyboardInterrupt is the person's at the keyboard, and no failure.
        """

    def reasons(self) -> list[str]:
        """Why the letters were given up that the engine itself has kept."""


class EngineContract:
    """Tests of the fixture `place`, an `EnginePlace` whose stores are those of the fixture `store`."""

    @pytest.fixture
    def store(self) -> MemoryStore:
        """Where the handler keeps its dead letters and lanes."""
        return MemoryStore(clock=clock.timestamp)

    @pytest.fixture
    def log(self) -> Iterator[Log]:
        """What the lifecycle hooks tell."""
        log = Log()
        observe(log)
        yield log
        forget(log)

    def test_the_same_failure_leaves_the_same_letter(
        self, place: EnginePlace, store: MemoryStore, log: Log
    ) -> None:
        @place.handler.register(event_name="bad", name="hopeless")
        def hopeless(event: Event) -> None:
            raise ValueError("never")

        place.dispatch("bad", {"n": 1})

        letter = _only(store)
        assert (letter.subscription, letter.queue, letter.event_name) == ("hopeless", "events", "bad")
        assert letter.id == named_id(place.handler.name, "hopeless", str(letter.event_id))
        assert (letter.handler, letter.attempts, letter.reason) == (
            place.handler.name,
            3,
            "ValueError: never",
        )
        assert json.loads(letter.argument)["data"] == {"n": 1}
        assert 'raise ValueError("never")' in letter.traceback
        assert letter.first_at.isoformat() == json.loads(letter.argument)["time"]
        hooks = _failures(log)
        assert hooks == ["failed", "retried", "failed", "retried", "failed", "dead"]

    def test_what_no_retry_can_mend_is_given_up_at_once(self, place: EnginePlace, store: MemoryStore) -> None:
        @place.handler.register(event_name="bad", name="hopeless")
        def hopeless(event: Event) -> None:
            raise InvalidPayload("does not fit")

        place.dispatch("bad")

        assert (_only(store).attempts, _only(store).reason) == (1, "InvalidPayload: does not fit")

    def test_a_payload_that_is_hopeless_in_a_batch_is_given_up_once(
        self, place: EnginePlace, store: MemoryStore, log: Log
    ) -> None:
        @place.handler.register(event_name="bad", name="many", batch=10, batch_window=0.0)
        def many(events: list[Event]) -> None:
            raise InvalidPayload("does not fit")

        place.dispatch("bad")

        assert _only(store).attempts == 1
        assert _failures(log) == ["failed", "dead"]

    def test_the_attempt_in_a_batch_counts(self, place: EnginePlace, store: MemoryStore) -> None:
        calls: list[int] = []

        @place.handler.register(event_name="bad", name="many", batch=10, batch_window=0.0)
        def many(events: list[Event]) -> None:
            calls.append(len(events))
            raise ValueError("never")

        place.dispatch("bad")

        assert (len(calls), _only(store).attempts) == (3, 3)

    @pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt()], ids=repr)
    def test_an_error_that_would_end_the_process_is_the_events_failure(
        self, place: EnginePlace, store: MemoryStore, error: BaseException
    ) -> None:
        ran: list[str] = []

        @place.handler.register(event_name="bad", name="ends")
        def ends(event: Event) -> None:
            raise error

        place.handler.register(lambda event: ran.append(event.name), event_name="bad", name="sibling")

        place.dispatch("bad")

        assert (_only(store).attempts, _only(store).reason.split(":")[0]) == (3, "FunctionExited")
        assert type(error).__name__ in _only(store).reason
        assert ran == ["bad"]

    def test_a_message_for_nobody_is_kept_after_a_while(self, place: EnginePlace, store: MemoryStore) -> None:
        text = '{"specversion":"1.0","id":"1","source":"shop","type":"x"}'
        place.work()

        place.send(text, task="not.deployed.yet")
        place.settle()

        letter = _only(store)
        assert (letter.subscription, letter.attempts, letter.event_id) == ("not.deployed.yet", 3, "1")
        assert letter.reason == "UnknownSubscription: no worker of this queue has 'not.deployed.yet'"
        assert letter.argument == text
        assert place.reasons() == []

    def test_what_is_no_event_is_kept(self, place: EnginePlace, store: MemoryStore) -> None:
        place.work()
        place.send("no JSON")
        place.settle()

        assert (_only(store).argument, _only(store).event_id) == ("no JSON", None)
        assert _only(store).reason.startswith("UnreadableEnvelope")

    def test_those_behind_one_that_is_given_up_go_on(self, place: EnginePlace, store: MemoryStore) -> None:
        got: list[int] = []

        @place.handler.register(event_name="a", name="one")
        def one(event: Event) -> None:
            if event.payload == 1:
                raise ValueError("never")
            got.append(event.payload)

        for number in (1, 2):
            place.dispatch("a", number, ordering_key="k")

        assert got == [2]
        assert _only(store).attempts == 3

    def test_without_a_store_the_engine_keeps_it(self, place: EnginePlace, store: MemoryStore) -> None:
        store.dead_letters.max_letters = 0

        @place.handler.register(event_name="bad", name="hopeless")
        def hopeless(event: Event) -> None:
            raise ValueError("never")

        place.dispatch("bad")

        assert place.reasons() == ["ValueError: never"]


def _only(store: MemoryStore) -> DeadLetter:
    [letter] = store.dead_letters.list()
    return letter


def _failures(log: Log) -> list[str]:
    return [each.hook for each in log.entries if each.hook in ("failed", "retried", "dead")]
