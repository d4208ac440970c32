"""The process's event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import ctypes
import gc
import os
import threading
import weakref
from collections.abc import Iterator

import pytest

from fastapi_events.process_loop import LoopThread, prefer, process_loop
from fastapi_events.thread_calls import ThreadCalls


def test_there_is_one_loop_for_the_life_of_the_process() -> None:
    assert process_loop() is process_loop()


def test_results_and_errors_come_back() -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    async def fail() -> None:
        raise TimeoutError("its own")

    assert process_loop().run(double(4)) == 8
    with pytest.raises(TimeoutError, match="its own"):
        process_loop().run(fail())


def test_the_callers_context_goes_along() -> None:
    tenant = contextvars.ContextVar("tenant", default="nobody")
    tenant.set("acme")

    async def who() -> str:
        return tenant.get()

    assert process_loop().run(who()) == "acme"


def test_waiting_for_the_loop_on_the_loop_is_refused_rather_than_a_deadlock() -> None:
    async def nested() -> None:
        process_loop().run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="never end"):
        process_loop().run(nested())


def test_an_exception_raised_into_the_waiting_thread_cancels_the_coroutine() -> None:
    class Interrupt(BaseException):
        pass

    started, cancelled = threading.Event(), threading.Event()
    outcome: list[BaseException] = []

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    def wait() -> None:
        try:
            process_loop().run(work())
        except Interrupt as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert started.wait(10)
    # This is how Dramatiq interrupts an actor that exceeds its time limit.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Interrupt))
    thread.join(10)

    assert cancelled.is_set()
    assert len(outcome) == 1


@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)  # that is the point
def test_a_forked_child_starts_a_loop_of_its_own() -> None:
    process_loop().run(asyncio.sleep(0))
    reading, writing = os.pipe()

    child = os.fork()
    if child == 0:
        try:
            process_loop().run(asyncio.sleep(0))
            os.write(writing, b"ran")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)

    assert os.read(reading, 10) == b"ran"


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt()])
def test_what_would_end_the_loop_is_raised_where_somebody_waits(error: BaseException) -> None:
    async def leave() -> None:
        await asyncio.sleep(0)
        raise error

    before = process_loop()
    with pytest.raises(type(error)) as raised:
        before.run(leave())

    assert raised.value is error
    assert process_loop() is before
    assert before.run(asyncio.sleep(0, "alive")) == "alive"


def test_a_task_that_nobody_waits_for_does_not_end_the_loop_either(caplog: pytest.LogCaptureFixture) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def start() -> asyncio.Task[None]:
        return asyncio.create_task(leave())

    before = process_loop()
    task = before.run(start())

    assert before.run(asyncio.sleep(0.01, "alive")) == "alive"
    assert process_loop() is before
    assert "SystemExit(3)" in caplog.text
    assert isinstance(task.exception(), SystemExit)


def test_a_loop_that_has_ended_is_replaced_and_who_waits_is_told() -> None:
    async def stop() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.Event().wait()

    before = process_loop()
    with pytest.raises(RuntimeError, match="loop has ended"):
        before.run(stop())

    assert process_loop() is not before
    assert process_loop().run(asyncio.sleep(0, "alive")) == "alive"


def test_a_coroutine_that_cancels_itself_is_told_from_one_that_is_interrupted() -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(concurrent.futures.CancelledError):
        process_loop().run(give_up())


def test_an_error_leaves_no_cycle_behind() -> None:
    class Lost(Exception):
        pass

    def fail() -> weakref.ref[BaseException]:
        async def work() -> None:
            raise Lost

        try:
            process_loop().run(work())
        except Lost as error:
            return weakref.ref(error)
        raise AssertionError

    gc.disable()
    try:
        error = fail()
        process_loop().run(asyncio.sleep(0))
        assert error() is None
    finally:
        gc.enable()


@pytest.fixture
def foreign_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_a_loop_of_somebody_elses_is_adopted_for_as_long_as_it_runs(
    foreign_loop: asyncio.AbstractEventLoop,
) -> None:
    async def where() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    ready = threading.Event()
    foreign_loop.call_soon_threadsafe(ready.set)
    assert ready.wait(10)
    prefer(lambda: foreign_loop)

    assert process_loop().run(where()) is foreign_loop

    stopped = threading.Event()
    foreign_loop.call_soon_threadsafe(lambda: (foreign_loop.stop(), stopped.set()))
    assert stopped.wait(10)
    while foreign_loop.is_running():
        stopped.wait(0.01)
    assert process_loop().loop is not foreign_loop


def test_a_loop_keeps_nothing_of_the_context_in_which_it_was_made() -> None:
    class Backlog:
        pass

    backlog = Backlog()
    variable: contextvars.ContextVar[object] = contextvars.ContextVar("backlog")
    context = contextvars.copy_context()
    context.run(variable.set, backlog)
    thread = context.run(LoopThread)
    gone = weakref.ref(backlog)

    del context, backlog
    gc.collect()

    assert gone() is None
    thread.loop.call_soon_threadsafe(thread.loop.stop)


def test_an_interrupted_thread_still_makes_the_calls_of_the_clean_up() -> None:
    class Interrupt(BaseException):
        pass

    made_by: list[threading.Thread] = []
    calls = ThreadCalls()

    def interrupted() -> None:
        raise Interrupt

    async def work() -> None:
        try:
            await calls.make(interrupted)
        finally:
            await calls.make(lambda: made_by.append(threading.current_thread()))

    with pytest.raises(Interrupt):
        process_loop().run(work(), calls=calls)

    assert made_by == [threading.current_thread()]
