"""Leaving a block waits for what its events cause in this process, and reports what it does not wait for."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.scope import collect_events, flush
from tests.recording import Diary


def leave(in_a_loop: bool, scope: collect_events, then: Callable[[], Any]) -> None:
    if not in_a_loop:
        with scope:
            then()
        return

    async def main() -> None:
        async with scope:
            then()

    asyncio.run(asyncio.wait_for(main(), 20))


def chain(length: int, heard: list[int], *, synchronous: bool) -> LocalHandler:
    handler = LocalHandler()

    def then(event: Any) -> None:
        if event[1] < length:
            dispatch("next", event[1] + 1)
        heard.append(event[1])

    async def waiting(event: Any) -> None:
        await asyncio.sleep(0.01)
        then(event)

    handler.register(then if synchronous else waiting, event_name="next")
    return handler


@pytest.mark.parametrize("in_a_loop", [True, False])
@pytest.mark.parametrize("synchronous", [True, False])
@pytest.mark.parametrize("deadline", [None, 20, timedelta(seconds=20)])
def test_a_block_waits_for_the_events_of_its_events(
    in_a_loop: bool, synchronous: bool, deadline: Any, diary: Diary
) -> None:
    heard: list[int] = []
    scope = collect_events([chain(5, heard, synchronous=synchronous)], deadline=deadline)

    leave(in_a_loop, scope, lambda: dispatch("next", 0))

    assert sorted(heard) == [0, 1, 2, 3, 4, 5]
    assert diary.of("lost") == []


def test_it_waits_for_what_an_early_flush_has_caused() -> None:
    heard: list[int] = []
    handler = chain(3, heard, synchronous=False)

    async def main() -> None:
        async with collect_events([handler]):
            dispatch("next", 0)
            await flush()
            assert heard == [0]

    asyncio.run(asyncio.wait_for(main(), 20))
    assert heard == [0, 1, 2, 3]


@pytest.mark.parametrize("in_a_loop", [True, False])
def test_errors_of_what_it_causes_are_raised_where_it_asks_for_them(in_a_loop: bool) -> None:
    handler = LocalHandler()

    @handler.register(event_name="first")
    def first(event: Any) -> None:
        dispatch("second")

    @handler.register(event_name="second")
    async def second(event: Any) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        leave(in_a_loop, collect_events([handler], raise_errors=True), lambda: dispatch("first"))


@pytest.mark.parametrize("in_a_loop", [True, False])
@pytest.mark.parametrize("hanging", ["own", "caused"])
def test_what_is_not_handled_at_the_deadline_is_reported_lost(
    in_a_loop: bool, hanging: str, diary: Diary
) -> None:
    handler = LocalHandler()

    @handler.register(event_name="caused")
    async def hang(event: Any) -> None:
        await asyncio.Event().wait()

    @handler.register(event_name="own")
    async def cause(event: Any) -> None:
        dispatch("caused")

    scope = collect_events([handler], deadline=0.2, raise_errors=True)
    with pytest.raises(TimeoutError, match=r"after 0\.2 s"):
        leave(in_a_loop, scope, lambda: dispatch("own" if hanging == "caused" else "caused"))

    assert [name for name, _ in diary.of("lost")] == ["caused"]


@pytest.mark.parametrize("wrong", [0, -1, "1s", True, float("nan")])
def test_a_deadline_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="deadline="):
        collect_events([], deadline=wrong)


def test_nested_blocks_wait_each_for_their_own() -> None:
    order: list[str] = []
    outer, inner = LocalHandler(), LocalHandler()

    @inner.register(event_name="first")
    async def first(event: Any) -> None:
        dispatch("second")

    @inner.register(event_name="second")
    async def second(event: Any) -> None:
        order.append("second")

    @outer.register
    async def nesting(event: Any) -> None:
        async with collect_events([inner]):
            dispatch("first")
        order.append("left")

    with collect_events([outer]):
        dispatch("outer")
    assert order == ["second", "left"]


SCRIPT = """
from fastapi_events import delivery
from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.scope import collect_events

handler = LocalHandler()

@handler.register(event_name="first")
async def first(event):
    dispatch("second")

@handler.register(event_name="second")
async def second(event):
    import asyncio
    await asyncio.sleep(0.2)
    print("second is done", flush=True)

@handler.register(event_name="hanging")
async def hanging(event):
    import asyncio
    await asyncio.sleep(3600)

async def app(scope, receive, send): ...
middleware = EventHandlerASGIMiddleware(app, [handler], middleware_id=7)
"""


@pytest.mark.parametrize(
    ("body", "printed"),
    [
        ("with collect_events([handler]): dispatch('first')", "second is done"),
        ("dispatch('first', middleware_id=7)", "second is done"),
        ("delivery.EXIT_DEADLINE_SECONDS = 0.2; dispatch('hanging', middleware_id=7)", "'hanging'"),
    ],
    ids=["block", "outside", "hanging"],
)
def test_a_script_ends_when_its_events_are_handled_or_reported(body: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + body], capture_output=True, text=True, timeout=60, check=True
    )
    assert printed in done.stdout + done.stderr


def test_late_events_of_a_thread_are_waited_for_at_exit() -> None:
    heard = threading.Event()
    handler = LocalHandler()
    handler.register(lambda event: heard.set())
    left = threading.Event()

    def late() -> None:
        assert left.wait(10)
        dispatch("late")

    with collect_events([handler]):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(late,))
        thread.start()
    left.set()
    thread.join()
    assert heard.wait(10)
