"""The lookout: a thread that looks at once, then again and again, whatever the store says."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fastapi_events.errors import StorageError
from fastapi_events.handlers.task_queue import lookout as lookout_module
from fastapi_events.handlers.task_queue.lookout import Lookout
from fastapi_events.handlers.task_queue.ordering import Order
from fastapi_events.storage.lanes import Item, Lane
from fastapi_events.storage.memory import MemoryLanes
from tests.handlers.task_queue.broker import ListEngine
from tests.processes import until

OFTEN = 0.01


class Looked(Order):
    """Counts the looks, of which the first may fail."""

    def __init__(self) -> None:
        super().__init__(MemoryLanes(), "list:events", ListEngine())
        self.failing: Exception | None = None
        self.looks: list[bool] = []
        self._changed = threading.Condition()

    def look(self, *, unheard: bool = False) -> int:
        with self._changed:
            self.looks.append(unheard)
            self._changed.notify_all()
        if self.failing is not None:
            raise self.failing
        return 0

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.looks) >= count, 10)


@pytest.fixture
def order() -> Looked:
    return Looked()


@pytest.fixture
def lookout(order: Looked) -> Iterator[Lookout]:
    lookout = Lookout(order, busy=OFTEN, idle=OFTEN)
    yield lookout
    lookout.stop()


def test_it_looks_for_all_that_waits_and_then_for_what_is_due(order: Looked, lookout: Lookout) -> None:
    lookout.start()
    order.wait_for(3)

    assert order.looks[:3] == [True, False, False]


def test_a_store_that_is_away_is_said_once_and_asked_again(
    order: Looked, lookout: Lookout, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    order.failing = StorageError("away")
    lookout.start()
    order.wait_for(3)
    assert order.looks[:3] == [True, True, True]  # it has not looked for all yet
    assert caplog.text.count("cannot be looked at: StorageError: away") == 1

    order.failing = None
    order.wait_for(len(order.looks) + 2)
    assert "can be looked at again" in caplog.text


def test_it_ends(order: Looked, lookout: Lookout) -> None:
    lookout.start()
    order.wait_for(1)
    lookout.stop()

    assert not [each for each in threading.enumerate() if "lookout" in each.name]


def test_traffic_lets_it_look_more_often(order: Looked) -> None:
    lookout = Lookout(order, busy=OFTEN, idle=3_600.0)
    lookout.start()
    try:
        order.wait_for(1)
        lookout.traffic()
        order.wait_for(3)
    finally:
        lookout.stop()


def test_while_the_broker_takes_no_bells_it_looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout_module, "AGAIN_SECONDS", OFTEN)
    order = Looked()
    order.bells.are_refused = True
    lookout = Lookout(order, busy=3_600.0, idle=3_600.0)
    lookout.start()
    try:
        order.wait_for(3)
        # And for all that waits, also when it takes them again: some may have been lost
        order.bells.are_refused = False
        order.wait_for(len(order.looks) + 3)
    finally:
        lookout.stop()
    assert all(order.looks)


def test_some_seconds_after_an_outage_it_looks_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout_module, "AGAIN_SECONDS", OFTEN)
    monkeypatch.setattr(lookout_module, "_RECOVERS_SECONDS", OFTEN)
    order = Looked()
    order.failing = StorageError("away")
    lookout = Lookout(order, busy=OFTEN, idle=OFTEN)
    lookout.start()
    try:
        order.wait_for(2)
        order.failing = None
        until(lambda: not order.looks[-1], "a look for what is due")
    finally:
        lookout.stop()


def test_a_lost_bell_is_rung() -> None:
    # Given a lane whose bell was lost with the process that should have rung it
    lanes, engine = MemoryLanes(), ListEngine()
    lanes.put({Lane("list:events", "feed", "a"): [Item("1", "{}", "events")]})
    lanes.missed([Lane("list:events", "feed", "a")])
    rung = threading.Event()

    def send(messages: Any, *, timeout: float | None = None) -> None:
        engine.sent.extend(messages)
        rung.set()

    engine.send = send  # type: ignore[method-assign]
    lookout = Lookout(Order(lanes, "list:events", engine))
    lookout.start()
    try:
        assert rung.wait(10)
    finally:
        lookout.stop()
    assert [each.task for each in engine.sent] == ["feed"]
