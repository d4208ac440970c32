"""Calls that a coroutine has made by a thread."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fastapi_events import green_threads
from fastapi_events.thread_calls import ThreadCalls

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@pytest.fixture(params=["real", "green"])
def calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ThreadCalls:
    monkeypatch.setattr(green_threads, "are_threads_green", lambda: request.param == "green")
    return ThreadCalls()


def run(calls: ThreadCalls, work: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        thread = threading.Thread(target=calls.serve_all)
        thread.start()
        try:
            return await work()
        finally:
            calls.close()
            thread.join(10)

    return asyncio.run(main())


def test_results_and_errors_come_back(calls: ThreadCalls) -> None:
    def fail() -> None:
        raise KeyError("no")

    async def work() -> list[Any]:
        found = [await calls.make(lambda a, *, b: (a, b), 1, b=2)]
        try:
            await calls.make(fail)
        except KeyError as error:
            found.append(error.args)
        return found

    assert run(calls, work) == [(1, 2), ("no",)]


def test_one_thread_makes_all_of_them(calls: ThreadCalls) -> None:
    async def work() -> list[threading.Thread]:
        return [await calls.make(threading.current_thread) for _ in range(3)]

    first, *others = run(calls, work)
    assert first is not threading.current_thread()
    assert set(others) == {first}


def test_what_is_set_on_the_loop_is_seen_and_what_a_call_sets_the_next_one_sees(calls: ThreadCalls) -> None:
    tokens: list[contextvars.Token[str]] = []

    async def work() -> list[str]:
        colour.set("red")
        seen = [await calls.make(colour.get)]
        await calls.make(lambda: tokens.append(colour.set("blue")))
        seen.append(await calls.make(colour.get))
        await calls.make(lambda: colour.reset(tokens[0]))  # in the context in which it was set
        seen.append(await calls.make(colour.get))
        colour.set("green")
        return [*seen, await calls.make(colour.get)]

    assert run(calls, work) == ["red", "blue", "red", "green"]


def test_a_stop_iteration_is_an_error_like_others(calls: ThreadCalls) -> None:
    async def work() -> None:
        await calls.make(lambda: next(iter(())))

    with pytest.raises(RuntimeError, match="StopIteration"):
        run(calls, work)


def test_nobody_is_waited_for_longer_than_asked(calls: ThreadCalls) -> None:
    assert calls.serve(0.01)
    calls.close()
    assert not calls.serve(0.01)
