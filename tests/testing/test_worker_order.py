"""Events with an ordering key in a test's worker: retries, letters, crashes and outages keep their order."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fastapi_events.dispatcher import dispatch
from fastapi_events.event import Event
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.testing import InlineWorker
from tests.testing.conftest import client_of, handler


@pytest.fixture
def queue() -> DramatiqHandler:
    return handler(store=MemoryStore())


@pytest.fixture
def got(queue: DramatiqHandler) -> list[Any]:
    got: list[Any] = []

    @queue.register(event_name="x", name="f", retry=RetryPolicy(max_retries=2, min_backoff=100.0))
    def f(event: Event) -> None:
        got.append(event.payload)

    return got


def dispatch_in_order(queue: DramatiqHandler, count: int = 4) -> None:
    with collect_events([queue]):
        for number in range(count):
            dispatch("x", number, ordering_key="k")


def test_those_behind_one_that_is_retried_wait_by_the_same_clock(
    queue: DramatiqHandler, worker: InlineWorker, got: list[Any]
) -> None:
    before = time.monotonic()
    with worker.failing("f", TimeoutError, times=2):
        dispatch_in_order(queue)
        run = worker.run()

    assert got == [0, 1, 2, 3]
    assert run.of("f").waits == [100.0, 200.0]
    run.assert_succeeded("f", attempts=6)
    assert time.monotonic() - before < 60


def test_those_behind_one_that_is_given_up_go_on_and_it_comes_last_when_it_is_replayed(
    queue: DramatiqHandler, worker: InlineWorker, got: list[Any]
) -> None:
    with worker.failing("f", ValueError("no"), times=3):
        dispatch_in_order(queue)
        run = worker.run()

    assert got == [1, 2, 3]
    run.assert_dead("f", reason="no")
    worker.replay()
    assert got == [1, 2, 3, 0]


def test_the_functions_own_error_is_raised(queue: DramatiqHandler, worker: InlineWorker) -> None:
    @queue.register(event_name="x", name="g", retry=RetryPolicy(max_retries=0))
    def g(event: Event) -> None:
        raise ZeroDivisionError

    dispatch_in_order(queue, 1)
    with pytest.raises(ZeroDivisionError):
        worker.run()


@pytest.mark.parametrize("point", ["run", "publish"])
def test_after_a_crash_none_is_missing(
    queue: DramatiqHandler, worker: InlineWorker, got: list[Any], point: Any
) -> None:
    dispatch_in_order(queue)
    with worker.crash_after(point):
        worker.run()
    worker.run()
    assert list(dict.fromkeys(got)) == [0, 1, 2, 3]


def test_neither_duplicates_nor_another_order_nor_an_outage_change_it(
    queue: DramatiqHandler, worker: InlineWorker, got: list[Any]
) -> None:
    with worker.duplicate(), worker.reorder(seed=2):
        dispatch_in_order(queue)
        worker.run()
    assert got == [0, 1, 2, 3]

    with worker.broker_down():
        client_of(queue).post("/x", json={"n": 4, "options": {"ordering_key": "k"}})
        worker.run()
    worker.run()
    assert got[4:] == [{"n": 4}]
