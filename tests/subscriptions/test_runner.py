"""Dependencies while a function runs: order, cache, teardown; on a loop and in a worker's thread."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Depends

from fastapi_events.event import Event
from fastapi_events.process_loop import process_loop
from fastapi_events.subscriptions.plan import plan
from fastapi_events.subscriptions.runner import InThread, OnLoop, drive, run


def on_loop(function: Callable[..., Any], overrides: Any = None) -> None:
    asyncio.run(run(plan(function), Event("hello", {"n": 1}), caller=OnLoop(), overrides=overrides or {}))


def in_thread(function: Callable[..., Any], overrides: Any = None) -> None:
    drive(run(plan(function), Event("hello", {"n": 1}), caller=InThread(), overrides=overrides or {}))


run_it = pytest.mark.parametrize("execute", [on_loop, in_thread])


@run_it
def test_dependencies_of_every_kind_are_solved_before_and_torn_down_after(execute: Any) -> None:
    log: list[str] = []

    def plain() -> str:
        log.append("plain")
        return "plain"

    async def coroutine(below: Annotated[str, Depends(plain)]) -> str:
        log.append("coroutine")
        return f"coroutine({below})"

    def generator(below: Annotated[str, Depends(coroutine)]) -> Iterator[str]:
        log.append("enter generator")
        yield f"generator({below})"
        log.append("leave generator")

    async def async_generator(below: Annotated[str, Depends(generator)]) -> AsyncIterator[str]:
        log.append("enter async generator")
        yield f"async_generator({below})"
        log.append("leave async generator")

    def work(event, db: str):
        log.append(f"{event.name} {db}")

    work.__annotations__["db"] = Annotated[str, Depends(async_generator)]
    execute(work)

    assert log == [
        "plain",
        "coroutine",
        "enter generator",
        "enter async generator",
        "hello async_generator(generator(coroutine(plain)))",
        "leave async generator",
        "leave generator",
    ]


@run_it
def test_a_dependency_is_called_once_an_event(execute: Any) -> None:
    calls: list[str] = []

    def shared() -> int:
        calls.append("shared")
        return len(calls)

    def uncached() -> int:
        calls.append("uncached")
        return len(calls)

    def one(value=Depends(shared)) -> int:
        return value

    def work(
        event,
        a=Depends(one),
        b=Depends(shared),
        c=Depends(uncached, use_cache=False),
        d=Depends(uncached, use_cache=False),
    ):
        assert a == b

    execute(work)
    assert calls == ["shared", "uncached", "uncached"]


@run_it
def test_a_failure_reaches_the_dependencies_and_comes_out(execute: Any) -> None:
    log: list[str] = []

    def session() -> Iterator[str]:
        try:
            yield "session"
            log.append("commit")
        except ValueError as error:
            log.append(f"rollback: {error}")
            raise

    def work(event, db=Depends(session)):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        execute(work)
    assert log == ["rollback: no"]


@run_it
def test_a_dependency_cannot_turn_a_failure_into_a_success(execute: Any) -> None:
    def swallowing() -> Iterator[None]:
        with contextlib.suppress(ValueError):
            yield

    async def swallowing_too() -> AsyncIterator[None]:
        with contextlib.suppress(ValueError):
            yield

    def work(event, a=Depends(swallowing), b=Depends(swallowing_too)):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        execute(work)


@run_it
def test_a_teardown_that_fails_is_a_failure(execute: Any) -> None:
    def session() -> Iterator[None]:
        yield
        raise ValueError("commit failed")

    def work(event, db=Depends(session)):
        pass

    with pytest.raises(ValueError, match="commit failed"):
        execute(work)


@run_it
def test_what_was_entered_is_left_when_a_later_dependency_fails(execute: Any) -> None:
    log: list[str] = []

    def first() -> Iterator[None]:
        try:
            yield
        finally:
            log.append("left")

    def second() -> None:
        raise ValueError("cannot connect")

    def work(event, a=Depends(first), b=Depends(second)):
        log.append("ran")

    with pytest.raises(ValueError, match="cannot connect"):
        execute(work)
    assert log == ["left"]


@run_it
def test_an_override_may_have_dependencies_of_its_own(execute: Any) -> None:
    seen: list[str] = []

    def real() -> str:
        raise AssertionError

    def below() -> str:
        return "below"

    def fake(value=Depends(below)) -> str:
        return f"fake({value})"

    def work(event, db=Depends(real)):
        seen.append(db)

    execute(work, {real: fake})
    assert seen == ["fake(below)"]


def test_in_a_worker_async_work_always_meets_the_same_loop() -> None:
    loops: set[Any] = set()

    async def dependency() -> None:
        loops.add(asyncio.get_running_loop())

    def work(event, a=Depends(dependency)):
        pass

    in_thread(work)
    in_thread(work)
    assert loops == {process_loop().loop}


tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


@run_it
def test_a_sync_function_shares_task_and_context_with_what_surrounds_it(execute: Any) -> None:
    seen: list[Any] = []

    async def scope() -> AsyncIterator[str]:
        token = tenant.set("acme")
        task = asyncio.current_task()
        async with anyio.create_task_group():
            yield "scope"
        seen.append(asyncio.current_task() is task)
        tenant.reset(token)

    def connection(around: Annotated[str, Depends(scope)]) -> Iterator[int]:
        token = tenant.set("connected")
        yield threading.get_ident()
        seen.append(threading.get_ident())
        tenant.reset(token)

    def work(event, around: Annotated[str, Depends(scope)], thread: Annotated[int, Depends(connection)]):
        seen.extend([tenant.get(), thread == threading.get_ident()])
        seen.append(thread)

    work.__annotations__.update(
        around=Annotated[str, Depends(scope)], thread=Annotated[int, Depends(connection)]
    )
    connection.__annotations__["around"] = Annotated[str, Depends(scope)]
    execute(work)

    name, same_thread, thread, left_in, same_task = seen
    assert (name, same_thread, same_task) == ("connected", True, True)
    assert thread == left_in


@run_it
def test_where_all_is_sync_it_is_one_visit_to_one_thread(execute: Any) -> None:
    threads: list[int] = []

    def connection() -> Iterator[None]:
        token = tenant.set("acme")
        threads.append(threading.get_ident())
        yield
        threads.append(threading.get_ident())
        tenant.reset(token)

    def work(event, _=Depends(connection)):
        threads.append(threading.get_ident())
        assert tenant.get() == "acme"

    execute(work)

    assert len(threads) == 3
    assert len(set(threads)) == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_who_holds_a_connection_never_waits_for_a_thread(is_async: bool) -> None:
    free = queue.Queue[int]()
    for number in range(2):
        free.put(number)
    done: list[int] = []

    def connection() -> Iterator[int]:
        number = free.get(timeout=10)
        try:
            yield number
        finally:
            free.put(number)

    def sync(event, number: int = Depends(connection)) -> None:
        done.append(number)

    async def coroutine(event, number: int = Depends(connection)) -> None:
        await asyncio.sleep(0)
        done.append(number)

    read = plan(coroutine if is_async else sync, by_annotation=False)

    async def many() -> None:
        await asyncio.gather(
            *(run(read, Event("hello", number), caller=OnLoop(), overrides={}) for number in range(100))
        )

    started = time.monotonic()
    asyncio.run(many())
    assert len(done) == 100
    assert time.monotonic() - started < 9  # nobody has waited in vain for a connection


def test_a_function_that_hides_that_it_is_async_runs_on_the_loop_that_calls() -> None:
    loops: list[Any] = []

    async def hidden() -> None:
        loops.append(asyncio.get_running_loop())

    def nothing() -> None: ...

    async def main() -> None:
        work = lambda event, _=Depends(nothing): hidden()  # noqa: E731
        await run(plan(work), Event("hello"), caller=OnLoop(), overrides={})
        assert loops == [asyncio.get_running_loop()]

    asyncio.run(main())


@run_it
def test_an_override_may_be_async_where_the_original_is_not(execute: Any) -> None:
    seen: list[str] = []

    def original() -> str:
        return "original"

    async def replacement() -> str:
        await asyncio.sleep(0)
        return "replacement"

    def work(event, value=Depends(original)) -> None:
        seen.append(value)

    execute(work, {original: replacement})
    assert seen == ["replacement"]


@pytest.mark.parametrize("call", [on_loop, in_thread])
def test_a_function_that_raises_stop_iteration_is_named(call: Callable[..., None]) -> None:
    def exhausted(event: Event) -> None:
        next(iter(()))

    with pytest.raises(RuntimeError, match=r"<function .*exhausted at .*> raised StopIteration"):
        call(exhausted)
