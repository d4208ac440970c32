"""The lanes that a worker holds during one turn: taken, kept, written, released, and rung at the end."""

from __future__ import annotations

import json

import pytest

from fastapi_events.handlers.task_queue.ordering import Order
from fastapi_events.handlers.task_queue.worker.lane_hold import LaneHold
from fastapi_events.storage.lanes import Item, Lane, Move, Outcome
from fastapi_events.storage.memory import MemoryLanes
from tests.handlers.task_queue.broker import ListEngine

HERE = "list:events"
ONE, OTHER = Lane(HERE, "feed", "one"), Lane(HERE, "feed", "other")


@pytest.fixture
def lanes() -> MemoryLanes:
    lanes = MemoryLanes()
    lanes.put({each: [Item(f"{each.key}-{n}", "{}", "events") for n in range(3)] for each in (ONE, OTHER)})
    return lanes


@pytest.fixture
def engine() -> ListEngine:
    return ListEngine()


@pytest.fixture
def order(lanes: MemoryLanes, engine: ListEngine) -> Order:
    return Order(lanes, HERE, engine)


def test_one_holds_a_lane_and_another_gets_none_until_it_is_released(order: Order) -> None:
    hold, another = LaneHold(order, limit=2), LaneHold(order, limit=2)

    [taken] = hold.take([ONE])

    assert [each.id for each in taken.items] == ["one-0", "one-1"]
    assert another.take([ONE]) == []
    assert hold.is_held(ONE)
    hold.release(ONE)
    assert not hold.is_held(ONE)
    assert another.take([ONE])


def test_who_has_lost_a_lane_writes_nothing_into_it(order: Order) -> None:
    hold = LaneHold(order, limit=2)
    hold.take([ONE])
    hold.release(ONE)
    another = LaneHold(order, limit=2)
    another.take([ONE])

    [finished] = hold.finish([Move(ONE, ["one-0"])])

    assert finished.outcome is Outcome.LOST
    another.release(ONE)
    [taken] = hold.take([ONE])
    assert taken.items[0].id == "one-0"


def test_the_next_lane_is_taken_in_the_step_that_finishes_one_and_once(order: Order) -> None:
    hold = LaneHold(order, limit=3)
    hold.take([ONE])

    finished = hold.finish_and_take(Move(ONE, ["one-0", "one-1", "one-2"]), OTHER)

    assert finished.outcome is Outcome.DONE
    following = hold.take_following()
    assert following is not None
    assert following.lane == OTHER
    assert hold.take_following() is None


def test_where_a_block_ends_the_worker_others_may_have_its_lanes_and_the_next_one(order: Order) -> None:
    hold = LaneHold(order, limit=1)
    hold.take([ONE])

    with pytest.raises(SystemExit), hold.kept([ONE]):
        hold.finish_and_take(Move(ONE, ["one-0"]), OTHER)
        raise SystemExit

    assert {each.lane for each in LaneHold(order, limit=1).take([ONE, OTHER])} == {ONE, OTHER}


def test_bells_are_rung_at_the_end_each_after_its_delay(order: Order, engine: ListEngine) -> None:
    hold = LaneHold(order, limit=1)
    hold.take([ONE, OTHER])
    hold.release(ONE)
    hold.release(OTHER, after=5.0)
    assert engine.sent == []

    hold.ring()

    rung = {json.loads(each.argument)["bell"][0]: each.delay for each in engine.sent}
    assert rung["one"] == 0.0
    assert 5.0 < rung["other"] < 6.0
