"""Bells: what is sent for lanes that are due, and what becomes of one that cannot be sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fastapi_events.errors import StorageError
from fastapi_events.handlers.task_queue.bells import MAX_LANES_PER_BELL, MAX_LANES_PER_TURN, Bells
from fastapi_events.handlers.task_queue.messages import FAN_OUT_TURN, Bell, bell_in
from fastapi_events.storage.lanes import UNHEARD_SECONDS, Due, Item, Lane
from fastapi_events.storage.memory import MemoryLanes
from tests.handlers.task_queue.broker import ListEngine

HERE = "list:events"


def feed(key: str) -> Lane:
    return Lane(HERE, "feed", key)


def fan_out(key: str) -> Lane:
    return Lane(HERE, FAN_OUT_TURN, key)


def test_lanes_of_one_function_and_queue_share_a_message() -> None:
    engine = ListEngine()
    due = [
        Due(fan_out("a"), "events"), Due(fan_out("b"), "events"), Due(fan_out("c"), "bills"),
        Due(feed("a"), "events"), Due(feed("b"), "events"), Due(feed("c"), "bills"),
    ]  # fmt: skip

    assert Bells(MemoryLanes(), HERE, engine).ring(due, delay=3.0)

    sent = sorted((each.task, each.queue, json.loads(each.argument)["bell"]) for each in engine.sent)
    assert sent == [
        ("fastapi_events.fan_out", "events", ["a", "b"]),
        ("fastapi_events.fan_out.bills", "bills", ["c"]),
        ("feed", "bills", ["c"]),
        ("feed", "events", ["a", "b"]),
    ]
    assert {each.delay for each in engine.sent} == {3.0}
    assert len({each.id for each in engine.sent}) == 4


@pytest.mark.parametrize(("lane", "most"), [(fan_out, MAX_LANES_PER_BELL), (feed, MAX_LANES_PER_TURN)])
def test_a_message_names_no_more_lanes_than_one_worker_should_take(
    lane: Callable[[str], Lane], most: int
) -> None:
    engine = ListEngine()

    Bells(MemoryLanes(), HERE, engine).ring([Due(lane(str(each)), "events") for each in range(most + 1)])

    assert [len(json.loads(each.argument)["bell"]) for each in engine.sent] == [most, 1]


def test_lanes_are_rung_apart_for_several_workers_to_hear() -> None:
    engine = ListEngine()

    Bells(MemoryLanes(), HERE, engine).ring([Due(feed(each), "events") for each in "abc"], apart=True)

    assert [json.loads(each.argument)["bell"] for each in engine.sent] == [["a"], ["b"], ["c"]]


def test_a_bell_can_be_read_and_nothing_else_is_one() -> None:
    bell = Bell(['a\n"b"', "é"], "events")
    assert bell_in([bell.text], {}) == bell
    others: Sequence[Any] = [
        "{}",
        '{"bell"',
        '{"bell": 7}',
        '{"bell": ["a"]}',
        "[]",
        7,
        None,
        {"bell": ["a"]},
    ]
    assert [bell_in([each], {}) for each in others] == [None] * len(others)
    assert bell_in([bell.text], {"more": 1}) is None
    assert bell_in([], {}) is None


def test_what_cannot_be_rung_is_due_at_once() -> None:
    lanes, engine = MemoryLanes(), ListEngine()
    bells = Bells(lanes, HERE, engine)
    placed = lanes.put({feed("a"): [Item("1", "{}", "events")]})
    assert bells.look() == 0  # it is about to be rung

    engine.refusing = ConnectionError("away")
    assert not bells.ring(placed.due)
    assert bells.are_refused
    assert bells.look() == 0
    assert bells.are_refused
    engine.refusing = None

    assert bells.look() == 1
    assert not bells.are_refused
    assert [each.task for each in engine.sent] == ["feed"]


def test_lanes_that_cannot_be_told_of_it_are_due_in_a_while() -> None:
    class Deaf(MemoryLanes):
        def missed(self, lanes: Sequence[Lane]) -> None:
            raise StorageError("away")

    now = [time.time()]
    lanes, engine = Deaf(clock=lambda: now[0]), ListEngine()
    bells = Bells(lanes, HERE, engine)
    engine.refusing = ConnectionError("away")
    assert not bells.ring(lanes.put({feed("a"): [Item("1", "{}", "events")]}).due)
    engine.refusing = None

    now[0] += UNHEARD_SECONDS
    assert bells.look() == 1


def test_all_lanes_that_are_due_are_rung() -> None:
    now = [time.time()]
    lanes, engine = MemoryLanes(clock=lambda: now[0]), ListEngine()
    lanes.put({feed(str(number)): [Item("1", "{}", "events")] for number in range(250)})
    lanes.put({Lane("another", "feed", "a"): [Item("1", "{}", "events")]})
    now[0] += 60

    assert Bells(lanes, HERE, engine).look() == 250
    assert sum(len(json.loads(each.argument)["bell"]) for each in engine.sent) == 250
