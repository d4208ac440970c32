"""Lanes that wait behind another of their bell: each goes to one worker, and soon to a free one."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

import pytest

from fastapi_events.handlers.task_queue.bells import Bells
from fastapi_events.handlers.task_queue.messages import Message
from fastapi_events.handlers.task_queue.worker.waiting_lanes import Handover, WaitingLanes
from fastapi_events.storage.lanes import Due, Lane
from fastapi_events.storage.memory import MemoryLanes
from tests.handlers.task_queue.broker import ListEngine

LANES = [Lane("list:events", "feed", key) for key in "abc"]


class Heard(ListEngine):
    """Says when something is rung."""

    def __init__(self) -> None:
        super().__init__()
        self.rung = threading.Event()

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        super().send(messages, timeout=timeout)
        self.rung.set()

    @property
    def keys(self) -> list[list[str]]:
        return [json.loads(each.argument)["bell"] for each in self.sent]


@pytest.fixture
def engine() -> Heard:
    return Heard()


@pytest.fixture
def bells(engine: Heard) -> Bells:
    return Bells(MemoryLanes(), "list:events", engine)


def test_each_lane_is_worked_at_here_or_rung() -> None:
    waiting = WaitingLanes(LANES, "kitchen")
    assert len(waiting) == 3
    assert waiting.next() == LANES[0]

    assert waiting.rest() == [Due(LANES[1], "kitchen"), Due(LANES[2], "kitchen")]

    assert not waiting
    assert waiting.next() is None
    assert waiting.rest() == []


def test_lanes_that_wait_for_too_long_are_rung_each_for_itself(bells: Bells, engine: Heard) -> None:
    handover = Handover(bells, patience=0.0)
    waiting = WaitingLanes(LANES, "events")
    assert waiting.next() == LANES[0]

    with handover.watch(waiting):
        assert engine.rung.wait(10)

    assert engine.keys == [["b"], ["c"]]
    assert waiting.next() is None


def test_lanes_that_are_done_in_time_are_not_rung(bells: Bells, engine: Heard) -> None:
    handover = Handover(bells, patience=0.1)
    done, late = WaitingLanes(LANES[:2], "events"), WaitingLanes(LANES[2:], "events")
    with handover.watch(done):
        pass

    with handover.watch(late):
        assert engine.rung.wait(10)

    assert engine.keys == [["c"]]


def test_a_bell_with_one_lane_needs_no_thread(bells: Bells) -> None:
    handover = Handover(bells, patience=0.0)
    waiting = WaitingLanes(LANES[:1], "events")
    waiting.next()
    with handover.watch(waiting):
        assert handover.is_idle
    with handover.watch(WaitingLanes(LANES, "events")):
        assert not handover.is_idle


def test_what_cannot_be_rung_is_left_to_whoever_looks(bells: Bells, engine: Heard) -> None:
    engine.refusing = ConnectionError("away")
    waiting = WaitingLanes(LANES, "events")

    Handover(bells).hand_over(waiting)

    assert engine.sent == []
    assert not waiting
