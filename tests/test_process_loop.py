"""The process's event loop."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import os
import threading

import pytest

from fastapi_events.process_loop import process_loop


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
