"""With `task_always_eager` events are handled where they are flushed, and no broker is asked."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import celery
import pytest

from fastapi_events.dispatcher import dispatch
from fastapi_events.event import Event
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryStore

pytestmark = pytest.mark.filterwarnings("error")

# Nothing listens there: whoever asks the broker fails.
NOWHERE = "redis://127.0.0.1:1/0"

MINUTES = RetryPolicy(max_retries=2, min_backoff=300.0, jitter=False)


@pytest.fixture
def app() -> celery.Celery:
    return celery.Celery(broker=NOWHERE, set_as_current=False)


def eager(app: celery.Celery, *, propagates: bool = False, **settings: Any) -> CeleryHandler:
    handler = CeleryHandler(app, retry=MINUTES, **settings)
    app.conf.update(task_always_eager=True, task_eager_propagates=propagates)  # as a test's fixture does
    return handler


def test_what_a_scope_dispatches_and_what_follows_from_it_has_run_when_it_ends(app: celery.Celery) -> None:
    handler = eager(app)
    got: list[Any] = []

    @handler.register(event_name="cat", queue="kitchen")
    def cook(event: Event) -> None:
        got.append(("cook", event.payload))
        dispatch("cooked", payload={"by": "cook"})

    @handler.register(event_name="cooked")
    async def eat(event: Event) -> None:
        got.append(("eat", event.payload))

    with collect_events([handler]):
        dispatch("cat", payload={"id": 7})
        assert got == []

    assert got == [("cook", {"id": 7}), ("eat", {"by": "cook"})]


def test_a_flush_on_an_event_loop_leaves_the_loop_to_others(app: celery.Celery) -> None:
    handler = eager(app)
    ran_meanwhile = threading.Event()

    @handler.register
    def waits(event: Event) -> None:
        assert ran_meanwhile.wait(30)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(ran_meanwhile.set)
        async with collect_events([handler], raise_errors=True):
            dispatch("cat")

    asyncio.run(main())


def test_no_deadline_bounds_what_runs_in_place(app: celery.Celery) -> None:
    handler = eager(app, flush_deadline=0.01)
    got: list[str] = []

    @handler.register
    def slow(event: Event) -> None:
        threading.Event().wait(0.2)
        got.append(event.name)

    with collect_events([handler], raise_errors=True):
        dispatch("cat")

    assert got == ["cat"]


def test_retries_follow_at_once_and_the_letter_counts_them(app: celery.Celery) -> None:
    store = MemoryStore()
    handler = eager(app, dead_letters=store.dead_letters)
    runs: list[str] = []

    @handler.register(name="feed")
    def feed(event: Event) -> None:
        runs.append("feed")
        raise ValueError("no fish")

    with collect_events([handler]):
        dispatch("cat")

    assert runs == ["feed"] * 3
    assert [(each.attempts, each.reason) for each in store.dead_letters.list()] == [
        (3, "ValueError: no fish")
    ]


def test_a_failure_is_not_raised_unless_celery_is_to_propagate_it(
    app: celery.Celery, caplog: pytest.LogCaptureFixture
) -> None:
    handler = eager(app)

    @handler.register(name="feed")
    def feed(event: Event) -> None:
        raise ValueError("no fish")

    with collect_events([handler], raise_errors=True):
        dispatch("cat")

    [nothing_keeps_it] = [each for each in caplog.messages if "Nothing keeps the dead letter" in each]
    assert "for feed but this log" in nothing_keeps_it
    assert "no fish" in nothing_keeps_it
    assert "kept in" not in caplog.text


def test_a_propagated_error_is_the_functions_own_and_the_others_have_run(app: celery.Celery) -> None:
    handler = eager(app, propagates=True)
    error, got = ValueError("no fish"), []

    @handler.register(name="bad")
    def bad(event: Event) -> None:
        raise error

    @handler.register(name="good")
    def good(event: Event) -> None:
        got.append(event.name)

    with pytest.raises(ValueError, match="no fish") as raised, collect_events([handler], raise_errors=True):
        dispatch("cat")

    assert raised.value is error
    assert got == ["cat"]


@pytest.mark.parametrize("is_async", [False, True])
def test_what_follows_from_a_function_and_fails_does_not_fail_the_function(
    app: celery.Celery, is_async: bool
) -> None:
    handler = eager(app, propagates=True)
    runs: list[str] = []

    def first(event: Event) -> None:
        runs.append("first")
        dispatch("second")

    async def first_async(event: Event) -> None:
        first(event)

    handler.register(first_async if is_async else first, event_name="first", name="first")

    @handler.register(event_name="second", name="second", retry=RetryPolicy(max_retries=0))
    def second(event: Event) -> None:
        runs.append("second")
        raise ValueError("no fish")

    with pytest.raises(ValueError, match="no fish"), collect_events([handler], raise_errors=True):
        dispatch("first")

    assert runs == ["first", "second"]


def test_an_error_that_would_end_a_worker_is_propagated_as_it_is(app: celery.Celery) -> None:
    handler = eager(app, propagates=True)

    @handler.register(retry=RetryPolicy(max_retries=0))
    def must_not_be_called(event: Event) -> None:
        pytest.fail("called")

    with pytest.raises(pytest.fail.Exception, match="called"), collect_events([handler], raise_errors=True):
        dispatch("cat")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"confirm": "handled"},
        {"durability": "response"},
        {"durability": "response", "confirm": "handled"},
    ],
    ids=["flush", "handled", "response", "response-handled"],
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_with_a_store_events_are_in_order_done_once_and_leave_nothing_waiting(
    app: celery.Celery, settings: dict[str, Any], is_async: bool
) -> None:
    store = MemoryStore()
    handler = eager(app, store=store, **settings)
    runs: list[Any] = []

    def cook(event: Event) -> None:
        runs.append(event.payload)
        if event.payload == 1 and runs.count(1) == 1:
            raise ValueError("no fish")
        dispatch("cooked", event.payload, ordering_key="eat")

    async def cook_async(event: Event) -> None:
        cook(event)

    handler.register(cook_async if is_async else cook, event_name="cat", name="cook", once=True)

    @handler.register(event_name="cooked", name="eat")
    def eat(event: Event) -> None:
        runs.append(f"eat {event.payload}")

    async def main() -> None:
        async with collect_events([handler], raise_errors=True):
            for number in range(3):
                dispatch("cat", number, ordering_key="kitchen")

    asyncio.run(main())

    assert [each for each in runs if isinstance(each, int)] == [0, 1, 1, 2]
    assert [each for each in runs if isinstance(each, str)] == ["eat 0", "eat 1", "eat 2"]
    assert store.outbox.list() == []
    assert store.dead_letters.list() == []


def test_what_is_given_up_in_place_lets_those_behind_it_in_order_go_on(app: celery.Celery) -> None:
    store = MemoryStore()
    handler = eager(app, store=store, confirm="handled")
    runs: list[Any] = []

    @handler.register(event_name="cat", name="feed", retry=RetryPolicy(max_retries=0))
    def feed(event: Event) -> None:
        runs.append(event.payload)
        if event.payload == 0:
            raise ValueError("no fish")

    with collect_events([handler], raise_errors=True):
        for number in range(3):
            dispatch("cat", number, ordering_key="bowl")

    assert runs == [0, 1, 2]
    assert [each.subscription for each in store.dead_letters.list()] == ["feed"]
    assert store.outbox.list() == []
