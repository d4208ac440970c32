"""`InlineWorker`: from a request to the last retry, in this process, and as in a real worker."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import Depends
from pydantic import BaseModel
from sqlalchemy.orm import Session

from fastapi_events import clock, under_test
from fastapi_events.commit import complete_in
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError, InvalidSetting
from fastapi_events.event import Event
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.registry.payload_schema import registry
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.storage.sqlalchemy import SqlStore
from fastapi_events.testing import InlineWorker, capture_events
from tests.recording import Recorder
from tests.testing.conftest import client_of, handler


class Order(BaseModel):
    __event_name__ = "order-placed"
    number: int


def test_a_request_is_handled_with_what_follows_from_it(queue: DramatiqHandler, worker: InlineWorker) -> None:
    served: list[int] = []

    @queue.register(Order)
    def cook(order: Order) -> None:
        dispatch("order-cooked", {"number": order.number})

    @queue.register(event_name="order-cooked")
    async def serve(event: Event) -> None:
        served.append(event.payload["number"])

    client_of(queue).post("/order-placed", json={"number": 1})
    assert served == []
    run = worker.run()

    assert served == [1]
    run.assert_ran(cook, times=1)
    run.assert_ran(serve, times=1)
    run.assert_dispatched_once("order-cooked", number=1)
    run.assert_nothing_unmatched()
    cause = run.dispatched[0]
    assert run.dispatched[1].headers["causationid"] == cause.id


def test_what_runs_has_come_over_the_wire(queue: DramatiqHandler, worker: InlineWorker) -> None:
    got: list[Any] = []
    sent = {"at": timedelta(seconds=1), "tags": ("a", "b")}
    queue.register(lambda event: got.append(event.payload), event_name="x", name="f")

    worker.emit("x", sent)

    assert got == [{"at": "PT1S", "tags": ["a", "b"]}]


def test_a_payload_is_validated_as_in_a_worker(
    queue: DramatiqHandler, worker: InlineWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    @queue.register(event_name="order-placed")
    def cook(order: Order) -> None: ...

    run = worker.emit("order-placed", {"number": "no number"}, raise_errors=False)

    run.assert_dead(cook, reason="InvalidPayload", attempts=1)
    monkeypatch.setattr(registry, "data", {})


def test_dependencies_are_resolved_and_overridden(queue: DramatiqHandler, worker: InlineWorker) -> None:
    closed: list[str] = []

    def kitchen() -> Iterator[str]:
        yield "real"
        closed.append("real")

    got: list[str] = []

    @queue.register(event_name="x")
    def cook(event: Event, place: Annotated[str, Depends(kitchen)]) -> None:
        got.append(place)

    worker.emit("x")
    queue.dependency_overrides[kitchen] = lambda: "fake"
    worker.emit("x")

    assert (got, closed) == (["real", "fake"], ["real"])


def test_retries_wait_by_a_clock_that_nothing_sleeps_for(
    queue: DramatiqHandler, worker: InlineWorker
) -> None:
    times: list[float] = []

    @queue.register(event_name="x", retry=RetryPolicy(max_retries=3, min_backoff=100.0))
    def cook(event: Event) -> None:
        times.append(clock.timestamp())

    before = time.monotonic()
    with worker.failing(cook, TimeoutError, times=2):
        run = worker.emit("x")

    assert run.of(cook).waits == [100.0, 200.0]
    run.assert_succeeded(cook, attempts=3)
    assert times[0] - time.time() > 250
    assert time.monotonic() - before < 60


def test_what_fails_for_good_is_dead_and_may_be_replayed(
    queue: DramatiqHandler, worker: InlineWorker
) -> None:
    cooked: list[int] = []

    @queue.register(event_name="x", retry=RetryPolicy(max_retries=1))
    def cook(event: Event) -> None:
        cooked.append(event.payload)

    with worker.failing(cook, ConnectionError("no gas")):
        run = worker.emit("x", 7)
    run.assert_dead(cook, reason="no gas", attempts=2)

    worker.replay().assert_succeeded(cook)
    assert cooked == [7]


def test_the_functions_own_error_is_raised_with_its_traceback(
    queue: DramatiqHandler, worker: InlineWorker
) -> None:
    @queue.register(event_name="x")
    def cook(event: Event) -> None:
        raise ZeroDivisionError("at cook")

    with pytest.raises(ZeroDivisionError, match="at cook") as raised:
        worker.emit("x")

    assert raised.traceback[-1].name == "cook"
    assert worker.last_run is not None
    worker.last_run.assert_dead(cook, reason="ZeroDivisionError", attempts=6)
    worker.run()  # it is raised once


def test_several_errors_are_a_group(queue: DramatiqHandler, worker: InlineWorker) -> None:
    def fails(event: Event) -> None:
        raise ValueError(event.name)

    queue.register(fails, event_name="*", retry=RetryPolicy(max_retries=0))
    client = client_of(queue)
    client.post("/a", json={})
    client.post("/b", json={})

    with pytest.raises(ExceptionGroup) as raised:
        worker.run()
    assert [str(each) for each in raised.value.exceptions] == ["a", "b"]


def test_pytests_own_outcomes_come_through(queue: DramatiqHandler, worker: InlineWorker) -> None:
    queue.register(lambda event: pytest.fail("must not be called"), event_name="x", name="f")
    with pytest.raises(pytest.fail.Exception, match="must not be called"):
        worker.emit("x")


@pytest.mark.parametrize("error", [SystemExit(2), asyncio.CancelledError("gone")], ids=repr)
@pytest.mark.parametrize("is_async", [False, True])
def test_errors_above_exception_that_a_test_has_asked_for_are_failures_and_no_news(
    queue: DramatiqHandler, worker: InlineWorker, error: BaseException, is_async: bool
) -> None:
    async def cook_async(event: Event) -> None: ...
    def cook(event: Event) -> None: ...

    queue.register(cook_async if is_async else cook, event_name="x", name="cook")
    queue.register(lambda event: None, event_name="x", name="sibling")
    with worker.failing("cook", error):
        run = worker.emit("x")
    run.assert_dead("cook", attempts=6)
    run.assert_ran("sibling", times=1)


def test_an_event_that_is_delayed_waits_for_the_test(queue: DramatiqHandler, worker: InlineWorker) -> None:
    @queue.register(event_name="reminder")
    def remind(event: Event) -> None: ...

    run = worker.emit("reminder", delay=600)

    with pytest.raises(AssertionError, match=r"reminder waits for 600 s more: worker.advance\(seconds=600\)"):
        run.assert_ran(remind)
    worker.advance(minutes=9).assert_not_ran(remind)
    worker.advance(timedelta(minutes=1)).assert_ran(remind, times=1)


def test_what_is_dispatched_after_the_clock_was_set_is_delayed_from_then(
    queue: DramatiqHandler, worker: InlineWorker
) -> None:
    queue.register(lambda event: None, event_name="reminder", name="remind")
    worker.advance(hours=1)
    worker.emit("reminder", delay=60)
    worker.advance(seconds=59).assert_not_ran("remind")
    worker.advance(seconds=2).assert_ran("remind")


def test_a_retry_within_the_time_runs_at_its_own(queue: DramatiqHandler, worker: InlineWorker) -> None:
    @queue.register(event_name="x", retry=RetryPolicy(min_backoff=10.0))
    def cook(event: Event) -> None: ...

    with worker.failing(cook, TimeoutError, times=2):
        worker.emit("x", delay=100)
        run = worker.advance(seconds=115)
        assert run.of(cook).attempts == 2
        worker.run().assert_succeeded(cook)


def test_a_function_that_is_paused_waits_until_it_is_resumed(
    queue: DramatiqHandler, worker: InlineWorker
) -> None:
    queue.register(lambda event: None, event_name="x", name="bill")
    queue.register(lambda event: None, event_name="x", name="cook")
    there = worker.handler(queue)

    there.pause("bill")
    run = worker.emit("x")
    run.assert_ran("cook", times=1)
    assert run.paused == {"bill": None}
    with pytest.raises(AssertionError, match="bill is paused until it is resumed"):
        run.assert_ran("bill")
    worker.advance(days=30).assert_not_ran("bill")

    there.resume("bill")
    worker.run().assert_succeeded("bill", attempts=1)


def test_a_pause_for_a_while_ends_by_the_clock(queue: DramatiqHandler, worker: InlineWorker) -> None:
    queue.register(lambda event: None, event_name="x", name="bill")
    worker.handler(queue).pause("bill", duration=timedelta(hours=2))
    worker.emit("x").assert_not_ran("bill")
    worker.run().assert_not_ran("bill")
    worker.advance(hours=1).assert_not_ran("bill")
    worker.advance(hours=1, seconds=1).assert_succeeded("bill", attempts=1)


def test_a_function_that_pauses_itself_is_tried_again_after_the_pause(
    queue: DramatiqHandler, worker: InlineWorker
) -> None:
    times: list[float] = []

    @queue.register(event_name="x", name="ship", pause_on=ConnectionError, pause_for=600.0)
    def ship(event: Event) -> None:
        times.append(clock.timestamp())
        if len(times) == 1:
            raise ConnectionError

    worker.emit("x").assert_succeeded("ship")
    assert 600 <= times[1] - times[0] < 660


def test_where_no_catalogue_keeps_it_nothing_can_be_paused_as_in_production() -> None:
    queue = handler(catalogue=None)
    queue.register(lambda event: None, event_name="x", name="bill")
    with InlineWorker(queue) as inline, pytest.raises(ConfigurationError, match="has no catalogue"):
        inline.handler(queue).pause("bill")


def test_once_skips_what_comes_again(worker: None) -> None:
    queue = handler(store=MemoryStore())

    @queue.register(event_name="x", once=True)
    def charge(event: Event) -> None: ...

    @queue.register(event_name="x")
    def log(event: Event) -> None: ...

    with InlineWorker(queue) as inline, inline.duplicate():
        run = inline.emit("x")

    run.assert_ran(charge, times=1)
    assert len(run.of(charge).skipped) > 0
    assert run.of(log).times > 1


def test_a_completion_in_the_functions_own_transaction_is_one_in_memory(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")
    queue = handler(inbox=SqlStore(engine).inbox)

    @queue.register(event_name="x", once=True)
    def charge(event: Event) -> None:
        with Session(engine) as session:
            complete_in(session)
            session.commit()

    with InlineWorker(queue) as inline, inline.duplicate():
        run = inline.emit("x")
    run.assert_ran(charge, times=1)
    engine.dispose()


def test_order_is_kept_per_key_even_where_messages_are_not() -> None:
    queue = handler(store=MemoryStore())
    got: list[int] = []
    queue.register(lambda event: got.append(event.payload), event_name="x", name="f")

    with InlineWorker(queue) as inline, inline.reorder(seed=3):
        with collect_events([queue]):
            for number in range(10):
                dispatch("x", number, ordering_key="k")
        inline.run()

    assert got == list(range(10))


def test_without_a_key_another_order_shows(queue: DramatiqHandler, worker: InlineWorker) -> None:
    got: list[int] = []
    queue.register(lambda event: got.append(event.payload), event_name="x", name="f")
    with worker.reorder(seed=3), collect_events([queue]):
        for number in range(10):
            dispatch("x", number)
    with worker.reorder(seed=3):
        worker.run()
    assert sorted(got) == list(range(10))
    assert got != sorted(got)


def test_a_batch_gathers_what_comes_within_its_window(queue: DramatiqHandler, worker: InlineWorker) -> None:
    batches: list[int] = []

    @queue.register(event_name="x", batch=3, batch_window=60)
    def many(events: list[Event]) -> None:
        batches.append(len(events))

    client = client_of(queue)
    for _ in range(4):
        client.post("/x", json={})
    before = time.monotonic()
    run = worker.run()

    assert batches == [3, 1]
    assert run.of(many).times == 4
    assert time.monotonic() - before < 50


def test_what_comes_after_a_full_batch_begins_another(queue: DramatiqHandler, worker: InlineWorker) -> None:
    batches: list[list[int]] = []

    @queue.register(event_name="x", batch=2, batch_window=60)
    def many(events: list[Event]) -> None:
        batches.append([each.payload for each in events])

    with collect_events([queue]):
        for number in range(5):
            dispatch("x", number)
    worker.advance(59)
    assert batches == [[0, 1], [2, 3]]
    worker.advance(2)
    assert batches == [[0, 1], [2, 3], [4]]


def test_a_part_of_a_batch_that_fails_runs_again_alone(queue: DramatiqHandler, worker: InlineWorker) -> None:
    @queue.register(event_name="x", batch=10)
    def many(events: list[Event]) -> None: ...

    client = client_of(queue)
    for _ in range(2):
        client.post("/x", json={})
    with worker.failing(many, TimeoutError, times=1):
        run = worker.run()

    assert len(run.of(many).waits) == 2
    run.assert_succeeded(many, attempts=4)


def test_routes_and_queues_are_those_of_the_handler() -> None:
    queue = handler(routes={"mail.*": "mail"})
    queue.register(lambda event: None, event_name="*", name="f", queue="slow")
    with InlineWorker(queue) as inline:
        inline.emit("mail.sent").assert_ran("f")
        assert set(inline.handler(queue).queues) == {"events", "mail", "slow"}


def test_an_event_that_nobody_listens_to_is_told(queue: DramatiqHandler, worker: InlineWorker) -> None:
    run = worker.emit("unheard", {"n": 1})
    with pytest.raises(AssertionError, match=r"Nobody listens to 1 of the events.*\n  unheard  \{'n': 1\}"):
        run.assert_nothing_unmatched()


def test_a_function_registered_after_the_beginning_is_known(
    queue: DramatiqHandler, worker: InlineWorker
) -> None:
    worker.emit("x")
    queue.register(lambda event: None, event_name="x", name="late")
    worker.emit("x").assert_ran("late", times=1)
    queue.register(function := (lambda event: None), event_name="a", name="twice")
    worker.emit("b").assert_not_ran("twice")
    queue.register(function, event_name="b", name="twice")
    worker.emit("b").assert_ran("twice")


# Local handlers, several handlers, other handlers


def test_functions_of_a_local_handler_run_where_they_always_do_and_are_told_of() -> None:
    local = LocalHandler()

    @local.register(event_name="x")
    async def count(event: Event) -> None:
        dispatch("counted")

    with InlineWorker(local) as inline:
        client_of(local).post("/x", json={})
        run = inline.run()

    run.assert_ran(count, times=1)
    run.assert_dispatched("counted")


def test_functions_of_a_local_handler_can_fail_and_come_back() -> None:
    local, called = LocalHandler(), []

    @local.register(event_name="x")
    def count(event: Event) -> None:
        called.append(event)

    with InlineWorker(local) as inline:
        with inline.failing(count, TimeoutError):
            run = inline.emit("x")
            assert [type(each) for each in run.of(count).errors] == [TimeoutError]
            local.register(lambda event: called.append(event), event_name="x")
        assert called == []
        inline.emit("x")
    assert len(called) == 2


def test_an_error_of_a_local_handler_is_raised() -> None:
    local = LocalHandler()

    @local.register(event_name="x")
    def count(event: Event) -> None:
        raise ValueError("no")

    with InlineWorker(local) as inline, pytest.raises(ValueError, match="no"):
        inline.emit("x")


def test_several_handlers_get_the_same_events() -> None:
    one, other, local = handler(), handler(queue="other"), LocalHandler()
    one.register(lambda event: None, event_name="x", name="one")
    other.register(lambda event: None, event_name="x", name="other")
    local.register(lambda event: None, event_name="x")

    with InlineWorker(one, other, local) as inline:
        client_of(one, other, local).post("/x", json={})
        run = inline.run()

    run.assert_ran("one", times=1)
    run.assert_ran("other", times=1)
    run.assert_dispatched_once("x")


def test_another_services_handler_on_the_same_queue_gets_what_is_sent_there() -> None:
    store = MemoryStore()
    in_shop, in_kitchen = handler(queue="kitchen", store=store), handler(queue="kitchen", store=store)
    in_kitchen.register(lambda event: None, event_name="order-*", name="cook")

    with InlineWorker(in_shop, in_kitchen) as inline:
        client_of(in_shop).post("/order-placed", json={"options": {"ordering_key": "k"}})
        run = inline.run()

    run.assert_ran("cook", times=1)
    run.assert_nothing_unmatched()


def test_workers_with_unlike_functions_on_one_queue_get_every_event_each() -> None:
    mail, bill = handler(), handler(store=MemoryStore())
    mail.register(lambda event: None, event_name="x", name="mail")
    bill.register(lambda event: None, event_name="x", name="bill", once=True)

    with InlineWorker(mail, bill) as inline, inline.duplicate():
        for each in (mail, bill):
            client_of(each).post("/x", json={})
        run = inline.run()

    assert run.of("mail").times > 2
    run.assert_ran("bill", times=2)  # by its own handler, which has an inbox


def test_a_handler_that_was_not_given_is_left_alone(queue: DramatiqHandler, worker: InlineWorker) -> None:
    recorder = Recorder()
    client_of(queue, recorder).post("/x", json={})
    assert recorder.names == ["x"]


def test_after_the_block_everything_is_as_before(queue: DramatiqHandler) -> None:
    with InlineWorker(queue) as inline:
        inline.advance(days=1)
    assert under_test.stand_ins is None
    assert under_test.seconds_ahead == 0.0
    with pytest.raises(RuntimeError, match="block is not open"):
        inline.run()


def test_events_are_recorded_and_the_worker_gets_them(queue: DramatiqHandler, worker: InlineWorker) -> None:
    queue.register(lambda event: None, event_name="x", name="f")
    with capture_events() as events:
        client_of(queue).post("/x", json={})
        worker.run().assert_ran("f")
    events.assert_dispatched("x")


# Where a test stands


def test_code_that_the_test_calls_itself_may_dispatch(queue: DramatiqHandler, worker: InlineWorker) -> None:
    queue.register(lambda event: None, event_name="x", name="f")
    dispatch("x")
    worker.run().assert_ran("f", times=1)


def test_it_works_in_async_tests(queue: DramatiqHandler, worker: InlineWorker) -> None:
    loops: list[bool] = []

    @queue.register(event_name="x")
    async def f(event: Event) -> None:
        loops.append(asyncio.get_running_loop() is not loop)

    async def test() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        transport = httpx.ASGITransport(client_of(queue).app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            await client.post("/x", json={})
        worker.run().assert_ran(f, times=1)
        worker.emit("x").assert_ran(f, times=1)

    loop: Any = None
    asyncio.run(test())
    assert loops == [True, True]


def test_functions_see_nothing_of_the_tests_context(queue: DramatiqHandler, worker: InlineWorker) -> None:
    found: list[Any] = []

    @queue.register(event_name="x")
    def f(event: Event) -> None:
        found.append(threading.current_thread() is threading.main_thread())
        dispatch("y")

    with collect_events([LocalHandler()]) as around:
        worker.emit("x")
        assert list(around) == []
    assert found == [True]


# Faults


def test_while_the_broker_is_down_events_wait_in_the_outbox() -> None:
    queue = handler(store=MemoryStore())
    queue.register(lambda event: None, event_name="x", name="f")
    client = client_of(queue)

    with InlineWorker(queue) as inline:
        with inline.broker_down():
            client.post("/x", json={})
            inline.run().assert_not_ran("f")
        inline.run().assert_ran("f", times=1)
        client.post("/x", json={})
        inline.run().assert_ran("f", times=1)


def test_without_an_outbox_they_are_lost(queue: DramatiqHandler, worker: InlineWorker) -> None:
    with worker.broker_down(queue):
        client_of(queue).post("/x", json={})
    [(event, reason)] = worker.run().lost
    assert event.name == "x"
    assert "the broker is away" in reason


def test_a_process_that_dies_when_its_function_has_run_gets_the_message_again(
    queue: DramatiqHandler, worker: InlineWorker
) -> None:
    queue.register(lambda event: None, event_name="x", name="f")
    with worker.crash_after("run"):
        run = worker.emit("x")
    run.assert_ran("f", times=2)
    assert run.of("f").waits == []


def test_so_does_one_whose_event_has_an_ordering_key() -> None:
    queue = handler(store=MemoryStore())
    queue.register(lambda event: None, event_name="x", name="f")
    with InlineWorker(queue) as inline, inline.crash_after("run"):
        with collect_events([queue]):
            for number in range(2):
                dispatch("x", number, ordering_key="k")
        run = inline.run()
    assert [each.payload for each in run.of("f").events] == [0, 0, 1]
    assert run.of("f").waits == []


def test_a_process_that_dies_when_the_broker_has_its_messages_sends_them_again(
    queue: DramatiqHandler, worker: InlineWorker
) -> None:
    queue.register(lambda event: dispatch("y"), event_name="x", name="f")
    queue.register(lambda event: None, event_name="y", name="g")
    client_of(queue).post("/x", json={})
    with worker.crash_after("publish"):
        run = worker.run()
    assert run.of("f").waits == []
    assert run.of("f").times + run.of("g").times > 2


def test_a_delayed_event_in_the_outbox_waits_for_the_test() -> None:
    queue = handler(store=MemoryStore())
    queue.register(lambda event: None, event_name="x", name="f")
    with InlineWorker(queue) as inline:
        run = inline.emit("x", delay=timedelta(days=30))
        [(seconds, name)] = run.delayed
        assert (round(seconds), name) == (30 * 86_400, "x")
        with pytest.raises(AssertionError, match=r"x waits for 2\d* s more: worker.advance"):
            run.assert_ran("f")
        inline.advance(days=29).assert_not_ran("f")
        inline.advance(days=1, seconds=1).assert_ran("f", times=1)


def test_events_that_wait_for_receipts_are_done_when_all_have_run() -> None:
    queue = handler(store=MemoryStore(), confirm="handled")
    queue.register(lambda event: None, event_name="x", name="f")
    with InlineWorker(queue) as inline:
        inline.emit("x").assert_ran("f", times=1)
        outbox = inline.handler(queue).outbox
        assert outbox is not None
        assert outbox.list() == []


def test_functions_that_lead_back_to_themselves_are_found_out(
    queue: DramatiqHandler, worker: InlineWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastapi_events.testing.work.MOST_MESSAGES", 20)
    queue.register(lambda event: dispatch("x"), event_name="x", name="again")
    with pytest.raises(RuntimeError, match=r"the last functions were again, again.* leads back to it"):
        worker.emit("x")


# Wrong input


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda it: it.failing("cok", TimeoutError).__enter__(), "none of the handlers; did you mean 'cook'"),
        (lambda it: it.failing("cook", "TimeoutError"), "expected an error or a class of errors"),
        (lambda it: it.failing("cook", UnicodeDecodeError), "pass an instance"),
        (lambda it: it.failing("cook", TimeoutError, times=0), "times=0: expected a whole number, 1 or more"),
        (lambda it: it.crash_after("publsh"), "did you mean 'publish'"),
        (lambda it: it.advance(minutes=-1), "minutes=-1"),
        (lambda it: it.advance("1h"), "by='1h'"),
        (lambda it: it.advance(days=1e9), "no more than a hundred years"),
        (lambda it: it.run(raise_errors=1), "raise_errors=1"),
        (lambda it: it.failing("cook", KeyboardInterrupt), "that would end the tests"),
        (lambda it: it.reorder(seed="a"), "seed='a'"),
        (lambda it: it.handler(LocalHandler()), "expected a TaskQueueHandler"),
        (lambda it: it.broker_down(handler()), "the worker was not given it"),
    ],
    ids=[
        "function", "error", "error-class", "times", "point", "negative", "text", "far", "flag", "interrupt",
        "seed", "local", "stranger",
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(
    queue: DramatiqHandler, worker: InlineWorker, wrong: Any, said: str
) -> None:
    queue.register(lambda event: None, event_name="x", name="cook")
    with pytest.raises((InvalidSetting, ConfigurationError), match=said):
        wrong(worker)


@pytest.mark.parametrize(
    "what",
    [
        lambda it: it.failing("cook", TimeoutError),
        lambda it: it.crash_after("run"),
        lambda it: it.broker_down(),
        lambda it: it.duplicate(),
        lambda it: it.reorder(),
        lambda it: it.handler(handler()),
    ],
    ids=["failing", "crash_after", "broker_down", "duplicate", "reorder", "handler"],
)  # fmt: skip
def test_nothing_is_broken_or_asked_of_a_worker_whose_block_is_not_open(what: Any) -> None:
    with pytest.raises(RuntimeError, match="block is not open"):
        what(InlineWorker(handler()))


def test_a_broker_is_down_by_the_handler_that_stands_in_too(
    queue: DramatiqHandler, worker: InlineWorker
) -> None:
    with worker.broker_down(worker.handler(queue)):
        client_of(queue).post("/x", json={})
        assert len(worker.run().lost) == 1


def test_a_function_is_known_by_what_a_decorator_has_made_of_it(
    queue: DramatiqHandler, worker: InlineWorker
) -> None:
    @functools.lru_cache
    @queue.register(event_name="x")
    def cook(event: Event) -> None: ...

    with worker.failing(cook, TimeoutError, times=1):
        worker.emit("x").assert_succeeded(cook, attempts=2)


def test_a_name_is_guessed_without_its_module(queue: DramatiqHandler, worker: InlineWorker) -> None:
    queue.register(lambda event: None, event_name="x", name="shop.handlers.cook")
    with pytest.raises(ConfigurationError, match="did you mean 'cook'"):
        worker.emit("x").assert_ran("cok")


def test_one_block_at_a_time(worker: InlineWorker) -> None:
    with pytest.raises(RuntimeError, match="open already"):
        worker.__enter__()


def test_a_handler_is_named_not_its_class() -> None:
    with pytest.raises(ConfigurationError, match="that is a class"):
        InlineWorker(DramatiqHandler)  # type: ignore[arg-type]
