"""A worker's turn at a lane: what it handles, how it ends, and what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from fastapi_events.envelope import seal
from fastapi_events.errors import StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import FAN_OUT_TURN, Bell
from fastapi_events.handlers.task_queue.worker import turn as turn_module
from fastapi_events.handlers.task_queue.worker.outcome import TryLater
from fastapi_events.handlers.task_queue.worker.turn import TURN_ITEMS
from fastapi_events.handlers.task_queue.worker.waiting_lanes import Handover
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.lanes import Item, Lane, Move
from fastapi_events.storage.memory import MemoryDeadLetters, MemoryLanes
from tests.handlers.task_queue.broker import ListHandler
from tests.recording import Diary

HERE = "list:events"
LANE = Lane(HERE, "one", "k")


@pytest.fixture(autouse=True)
def at_leisure(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no turn ends for the time that it takes."""
    monkeypatch.setattr(turn_module, "TURN_SECONDS", 3_600.0)
    monkeypatch.setattr(turn_module, "_SLOW_SECONDS", 3_600.0)
    monkeypatch.setattr(turn_module, "Handover", partial(Handover, patience=3_600.0))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Place:
    """A handler with one function, and lanes whose time stands still."""

    def __init__(self, lanes: MemoryLanes | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.lanes = lanes or MemoryLanes(clock=self.clock)
        self.letters = MemoryDeadLetters()
        self.handler = ListHandler(lanes=self.lanes, dead_letters=self.letters, **settings)
        self.ran: list[Any] = []
        self.does: Callable[[Event], None] = lambda event: None
        self.handler.register(self.run, name="one")

    def run(self, event: Event) -> None:
        self.does(event)
        self.ran.append(event.payload)

    def put(self, *payloads: Any, lane: Lane = LANE, queue: str = "events") -> None:
        self.lanes.put({lane: [self.item(each, lane.key, queue) for each in payloads]})

    def item(self, payload: Any, key: str, queue: str = "events") -> Item:
        event = Event("a", payload, id=f"{key}-{payload}")
        event.ordering_key = key
        return Item(event.id, seal(event, source="shop"), queue)

    def hear(self, *keys: str, task: str = "one", queue: str = "events") -> None:
        self.handler.engine.actors[task].run(Bell(keys or ("k",), queue).text)

    @property
    def bells(self) -> list[tuple[str, str, list[str], float]]:
        return [
            (each.task, each.queue, json.loads(each.argument)["bell"], each.delay)
            for each in self.handler.sent
        ]


def raising(error: BaseException, *payloads: Any) -> Callable[[Event], None]:
    def does(event: Event) -> None:
        if event.payload in payloads:
            raise error

    return does


def test_one_bell_serves_all_that_waits() -> None:
    place = Place()
    place.put(1, 2, 3)

    place.hear()

    assert place.ran == [1, 2, 3]
    assert place.bells == []


def test_one_bell_serves_several_lanes_with_one_step_for_each() -> None:
    asked: list[str] = []

    class Counting(MemoryLanes):
        def take(self, lanes: Any, **settings: Any) -> Any:
            asked.append("take")
            return super().take(lanes, **settings)

        def finish_and_take(self, move: Any, lanes: Any, **settings: Any) -> Any:
            finished = super().finish_and_take(move, lanes, **settings)
            asked[-1] = "finish and take"
            return finished

    place = Place(Counting())
    place.put(1, 2)
    place.put(3, lane=LANE._replace(key="l"))
    place.put(4, lane=LANE._replace(key="m"))

    place.hear("k", "l", "m")

    assert place.ran == [1, 2, 3, 4]
    assert asked == ["take", "finish and take", "finish and take"]
    assert place.bells == []
    assert place.lanes.count(HERE) == 0


def test_lanes_that_cannot_be_had_hold_up_no_other_of_their_bell() -> None:
    place = Place(retry=RetryPolicy(max_retries=3))
    place.put(1, 9)
    for payload, key in enumerate("lmno", 2):
        place.put(payload, lane=LANE._replace(key=key))
    place.lanes.take([LANE._replace(key="l")], token="another", lease=60, limit=1)
    place.does = raising(ValueError("not yet"), 1, 4)

    place.hear("k", "empty", "l", "m", "n", "o")

    assert place.ran == [3, 5]
    assert place.bells == [("one", "events", ["k", "n"], 0.0)]
    place.does = lambda event: None
    place.handler.run()
    assert place.ran == [3, 5, 1, 9, 4]


def test_what_ends_the_worker_leaves_all_lanes_of_its_bell_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    monkeypatch.setattr(place.handler.engine, "described", lambda attempt, options, error: None)
    others = [LANE._replace(key=key) for key in "lm"]
    place.put(1)
    for payload, lane in enumerate(others, 2):
        place.put(payload, lane=lane)
    place.does = raising(GeneratorExit(), 2)

    with pytest.raises(GeneratorExit):
        place.hear("k", "l", "m")

    assert place.ran == [1]
    assert [each.lane for each in place.lanes.take(others, token="another", lease=9, limit=9)] == others


def test_lanes_of_a_slow_function_are_left_to_whoever_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module, "_SLOW_SECONDS", -1.0)
    place = Place()
    place.put(1)
    place.hear()
    for payload, key in enumerate("klm", 2):
        place.put(payload, lane=LANE._replace(key=key))

    place.hear("k", "l", "m")

    assert place.ran == [1, 2]
    assert place.bells == [("one", "events", ["l"], 0.0), ("one", "events", ["m"], 0.0)]
    place.handler.run()
    assert place.ran == [1, 2, 3, 4]


def test_a_bell_for_an_empty_lane_is_heard_in_vain() -> None:
    place = Place()

    place.hear()

    assert (place.ran, place.bells) == ([], [])


def test_a_lane_that_another_has_is_left_alone() -> None:
    place = Place()
    place.put(1)
    place.lanes.take([LANE], token="another", lease=60, limit=1)

    place.hear()

    assert (place.ran, place.bells) == ([], [])


def test_a_turn_has_an_end_and_is_followed_by_another() -> None:
    place = Place()
    place.put(*range(TURN_ITEMS + 2))

    place.hear()
    assert place.ran == list(range(TURN_ITEMS))
    assert place.bells == [("one", "events", ["k"], 0.0)]
    place.handler.run()

    assert place.ran == list(range(TURN_ITEMS + 2))


def test_a_turn_ends_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module, "TURN_SECONDS", -1.0)
    place = Place()
    place.put(1, 2)

    place.hear()

    assert place.ran == [1]
    assert len(place.bells) == 1


def test_with_a_time_limit_each_event_has_a_message_of_its_own() -> None:
    place = Place()
    actor = place.handler.engine.actors["one"]
    object.__setattr__(actor, "options", {"time_limit": 5})
    place.put(1, 2)
    place.put(3, lane=LANE._replace(key="l"))

    place.hear("k", "l")

    assert place.ran == [1]
    assert place.bells == [("one", "events", ["l"], 0.0), ("one", "events", ["k"], 0.0)]


def test_what_waits_for_another_queue_is_rung_there() -> None:
    place = Place()
    place.put(1)
    place.put(2, queue="kitchen")

    place.hear()

    assert place.ran == [1]
    assert place.bells == [("one", "kitchen", ["k"], 0.0)]


def test_what_fails_is_tried_again_after_its_time_before_those_behind_it(diary: Diary) -> None:
    place = Place(retry=RetryPolicy(max_retries=3))
    place.put(1, 2)
    place.does = raising(ValueError("not yet"), 1)

    place.hear()
    assert place.ran == []
    assert len(place.bells) == 1
    place.hear()
    place.does = lambda event: None
    place.hear()

    assert place.ran == [1, 2]
    assert [rest["attempt"] for _, rest in diary.of("retried")] == [1, 2]


def test_until_its_time_has_come_no_bell_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(retry=RetryPolicy(max_retries=3, min_backoff=10.0, max_backoff=10.0))
    monkeypatch.setattr(place.handler.engine, "described", lambda attempt, options, error: attempt)
    place.put(1)
    place.does = raising(ValueError("not yet"), 1)
    place.hear()
    [(_, _, _, delay)] = place.bells
    place.does = lambda event: None

    place.hear()
    assert place.ran == []
    place.clock.now += delay
    place.hear()

    assert place.ran == [1]


def test_what_is_given_up_is_kept_and_those_behind_it_go_on(diary: Diary) -> None:
    place = Place(retry=RetryPolicy(max_retries=1))
    place.put(1, 2)
    place.does = raising(ValueError("never"), 1)

    place.hear()
    place.hear()

    assert place.ran == [2]
    [letter] = place.letters.list()
    assert (letter.subscription, letter.queue, letter.attempts, letter.event_id) == (
        "one",
        "events",
        2,
        "k-1",
    )
    assert [rest["attempts"] for _, rest in diary.of("dead")] == [2]


def test_the_attempts_at_one_event_are_not_those_at_the_next() -> None:
    place = Place(retry=RetryPolicy(max_retries=1))
    place.put(1, 2)
    place.does = raising(ValueError("never"), 1, 2)

    for _ in range(5):
        place.hear()

    assert [letter.attempts for letter in place.letters.list()] == [2, 2]


def test_who_says_later_is_not_counted() -> None:
    place = Place(retry=RetryPolicy(max_retries=0))
    place.put(1)
    place.does = raising(TryLater(0.0), 1)

    place.hear()
    place.hear()
    place.does = lambda event: None
    place.hear()

    assert place.ran == [1]


def test_what_ends_the_worker_leaves_the_lane_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    monkeypatch.setattr(place.handler.engine, "described", lambda attempt, options, error: None)
    place.put(1)
    place.does = raising(GeneratorExit(), 1)

    with pytest.raises(GeneratorExit):
        place.hear()

    assert place.lanes.take([LANE], token="another", lease=9, limit=1)


def test_a_holder_that_has_lost_its_lane_writes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    place = Place(retry=RetryPolicy(max_retries=0))
    place.put(1, 2)

    def slow(event: Event) -> None:
        place.clock.now += 3_600
        place.lanes.take([LANE], token="another", lease=3_600, limit=9)
        if event.payload == 1:
            raise ValueError("too late")

    place.does = slow
    place.hear()

    assert place.letters.list() == []
    place.clock.now += 3_600
    place.does = slow
    place.put(3, lane=LANE._replace(key="l"))
    place.hear("l")
    assert place.ran == [3]
    [taken] = place.lanes.take([LANE], token="another", lease=9, limit=9)
    assert [each.id for each in taken.items] == ["k-1", "k-2"]


def test_a_result_that_cannot_be_written_is_written_again(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryLanes):
        failures = 2

        def finish(self, moves: Any, *, token: str) -> Any:
            if self.failures:
                self.failures -= 1
                raise StorageError("away")
            return super().finish(moves, token=token)

    place = Place(Broken())
    place.put(1, 2)

    place.hear()

    assert place.ran == [1, 2]
    assert caplog.text.count("cannot be written, and is tried again: away") == 2


# Events that end their process


def test_an_event_that_ends_its_process_again_and_again_is_given_up() -> None:
    place = Place()
    place.put(1, 2)
    starts = []

    # Given workers that die over the first event
    class Died(BaseException):
        pass

    def die(event: Event) -> None:
        starts.append(event.payload)
        if event.payload == 1:
            raise Died

    place.does = die
    place.handler.engine.described = lambda attempt, options, error: (
        attempt if isinstance(error, Exception) else None
    )  # type: ignore[method-assign]
    release = place.lanes.release
    place.lanes.release = lambda *args, **settings: None  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(Died):
            place.hear()
        place.clock.now += 3_600
    place.lanes.release = release  # type: ignore[method-assign]

    # Then the fourth does not run it
    place.hear()

    assert starts == [1, 1, 1, 2]
    [letter] = place.letters.list()
    assert "DeliveredTooOften" in letter.reason


# Fan-out


def fan_out(key: str) -> Lane:
    return Lane(HERE, FAN_OUT_TURN, key)


def test_one_bell_fans_out_many_lanes() -> None:
    place = Place()
    place.put(1, 2, lane=fan_out("k"))
    place.put(3, lane=fan_out("l"))

    place.hear("k", "l", "empty", task="fastapi_events.fan_out")

    assert place.bells == [("one", "events", ["k", "l"], 0.0)]
    place.handler.run()
    assert sorted(place.ran) == [1, 2, 3]


def test_a_lane_that_cannot_be_fanned_out_costs_the_others_nothing(diary: Diary) -> None:
    place = Place()
    place.put(1, lane=fan_out("l"))
    place.lanes.put(
        {fan_out("k"): [place.item(0, "k"), Item("bad", "no JSON", "events"), place.item(2, "k")]}
    )

    place.hear("k", "l", task="fastapi_events.fan_out")
    place.handler.run()

    assert sorted(place.ran) == [0, 1, 2]
    [letter] = place.letters.list()
    assert letter.subscription == "fastapi_events.fan_out"


def test_a_lane_without_room_holds_up_its_own_key_only() -> None:
    place = Place(MemoryLanes(max_items=2))
    place.put(1, 2)
    place.put(3, lane=fan_out("k"))
    place.put(4, lane=fan_out("l"))

    place.hear("k", "l", task="fastapi_events.fan_out")
    tried_again = place.handler.sent.pop()
    assert json.loads(tried_again.argument)["bell"] == ["k"]
    place.handler.run()
    assert place.ran == [4]
    place.hear()
    place.handler.sent.append(tried_again)
    place.handler.run()

    assert place.ran == [4, 1, 2, 3]


def test_a_lane_of_fan_out_that_was_lost_puts_nothing() -> None:
    class Lost(MemoryLanes):
        def finish(self, moves: Any, *, token: str) -> Any:
            return super().finish(moves, token="nobody's")

    place = Place(Lost())
    place.put(1, lane=fan_out("k"))

    place.hear(task="fastapi_events.fan_out")

    assert place.bells == []
    assert place.lanes.take([LANE], token="a", lease=9, limit=9) == []


def test_a_suspect_is_fanned_out_alone() -> None:
    place = Place()
    place.put(1, 2, lane=fan_out("k"))
    place.lanes.take([fan_out("k")], token="a worker that died", lease=1, limit=1)
    place.clock.now += 2
    moves: list[Move] = []
    finish = place.lanes.finish

    def watched(given: Any, *, token: str) -> Any:
        moves.extend(given)
        return finish(given, token=token)

    place.lanes.finish = watched  # type: ignore[method-assign]
    place.hear(task="fastapi_events.fan_out")
    assert [list(move.ids) for move in moves] == [["k-1"]]
    place.handler.run()

    assert place.ran == [1, 2]


def test_without_lanes_a_worker_says_what_is_missing() -> None:
    handler = ListHandler()

    with pytest.raises(Exception, match="has no lanes: pass the workers the same lanes="):
        handler.engine.actors["fastapi_events.fan_out"].run(Bell(["k"], "events").text)
