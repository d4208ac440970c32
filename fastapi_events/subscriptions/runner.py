"""Runs a subscription's function for one event: dependencies, the call, and their teardown."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from fastapi_events.event import Event
from fastapi_events.per_process import PerProcess
from fastapi_events.process_loop import process_loop
from fastapi_events.subscriptions.dependencies import (
    Caller,
    Dependencies,
    Overrides,
    Steps,
    is_sync_throughout,
    solve,
)
from fastapi_events.subscriptions.payload import PayloadType
from fastapi_events.subscriptions.plan import Plan
from fastapi_events.thread_calls import ThreadCalls

T = TypeVar("T")

MAX_THREADS = 40
"""How many functions of a process may block at once; as many as Starlette lets."""


class OnLoop:
    """Calls from a coroutine: what may block runs in a thread, with the context copied."""

    async def sync(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        context = contextvars.copy_context()
        call = functools.partial(context.run, _without_stop_iteration, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(threads(), call)

    async def coro(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    async def together(self, steps: Steps, *, is_sync: bool) -> None:
        if is_sync:
            await self.sync(_drive_in_thread, steps, asyncio.get_running_loop())
            return
        calls = ThreadCalls()
        try:
            await steps(_WithThread(calls, threads()))
        finally:
            calls.close()


class InThread:
    """Calls from a worker's thread: what may block simply does, and coroutines run on the process's loop.

    Its methods never suspend, which is what lets `drive` run them without an event loop.

    Parameters:
        loop: Where coroutines run, instead.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop

    async def sync(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return _without_stop_iteration(function, *args, **kwargs)

    async def coro(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        async def call() -> Any:
            return await function(*args, **kwargs)

        if self._loop is None:
            return process_loop().run(call())
        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    async def together(self, steps: Steps, *, is_sync: bool) -> None:
        if is_sync:
            await steps(self)
        else:
            calls = ThreadCalls()
            process_loop().run(steps(_WithThread(calls)), calls=calls)


class _WithThread:
    """Calls from a coroutine that has one thread for all that may block.

    Parameters:
        calls: The calls that the thread makes.
        pool: Lends the thread at the first call; None where one is waiting already.
    """

    def __init__(self, calls: ThreadCalls, pool: concurrent.futures.Executor | None = None) -> None:
        self._calls = calls
        self._pool = pool

    async def sync(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._pool is not None:
            self._pool.submit(self._calls.serve_all)
            self._pool = None
        return await self._calls.make(function, *args, **kwargs)

    async def coro(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    async def together(self, steps: Steps, *, is_sync: bool) -> None:
        await steps(self)


# Loaded when the first is made.
_pool = PerProcess(
    lambda: concurrent.futures.ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="fastapi-events")
)


def threads() -> concurrent.futures.ThreadPoolExecutor:
    """The threads in which this process's subscriptions may block; a forked child has its own.

    Each is lent for all that one function and its dependencies do, so that who holds a connection never
    waits for a thread that others hold while they wait for a connection.
    """
    return _pool.get()


class Suspended(RuntimeError):
    """Raised when a coroutine suspends where there is no event loop to wake it."""


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, such as `run` with an `InThread` caller.

    Raises:
        Suspended: When it does.
    """
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]  # typeshed cannot tell
    coroutine.close()
    raise Suspended("This coroutine waits for an event loop.")


async def run(
    plan: Plan, event: Event, *, caller: Caller, overrides: Overrides, from_wire: bool = False
) -> None:
    """Call the plan's function with what it asks for.

    Parameters:
        from_wire: Whether the payload is JSON-shaped data, in which for example a date is a string.

    Raises:
        InvalidPayload: When the payload does not fit the type that the function asks for.
    """
    if plan.is_simple:
        await _call(plan.function, plan.is_async, (event,), {}, caller, {})
        return
    arguments: dict[str, Any] = {}
    first: tuple[Any, ...] = ()
    if plan.payload_type is not None:
        payload = _rebuilt(plan.payload_type, event, from_wire)
        first = (payload,) if plan.payload_argument else (event.with_payload(payload),)
    elif plan.takes_event:
        first = (event,)
    if plan.first_name is not None:
        arguments[plan.first_name] = first[0]
        first = ()
    for name in plan.events:
        arguments[name] = event
    for name, kind in plan.payloads:
        arguments[name] = _rebuilt(kind, event, from_wire)
    call = functools.partial(_call, plan.function, plan.is_async, first, arguments)
    if plan.dependencies:
        await with_dependencies(plan.dependencies, event, call, plan.is_async, caller, overrides)
    else:
        await call(caller, {})


def _rebuilt(kind: PayloadType, event: Event, from_wire: bool) -> Any:
    return kind.from_json(event.payload) if from_wire else kind.from_python(event.full_payload)


async def with_dependencies(
    dependencies: Dependencies,
    event: Event,
    call: Callable[[Caller, Mapping[str, Any]], Coroutine[Any, Any, None]],
    is_async: bool,
    caller: Caller,
    overrides: Overrides,
) -> None:
    """Solve dependencies, make a call with their values, and tear them down, in one task or one thread.

    Parameters:
        event: What dependencies get that ask for it.
        call: What is to be done with the values.
        is_async: Whether it gives a coroutine.
        overrides: Dependencies to replace.
    """

    async def steps(caller: Caller) -> None:
        values: dict[str, Any] = {}
        cache: dict[Callable[..., Any], Any] = {}
        async with AsyncExitStack() as stack:
            for name, dependency in dependencies:
                values[name] = await solve(
                    dependency, event, caller=caller, overrides=overrides, cache=cache, stack=stack
                )
            await call(caller, values)

    is_sync = not is_async and all(is_sync_throughout(each, overrides) for _, each in dependencies)
    await caller.together(steps, is_sync=is_sync)


async def _call(
    function: Callable[..., Any],
    is_async: bool,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    caller: Caller,
    values: Mapping[str, Any],
) -> None:
    if is_async:
        await caller.coro(function, *args, **kwargs, **values)
        return
    result = await caller.sync(function, *args, **kwargs, **values)
    if inspect.isawaitable(result):  # a decorator hid that the function is async
        await caller.coro(_identity, result)


async def _identity(awaitable: Any) -> None:
    await awaitable


def _drive_in_thread(steps: Steps, loop: asyncio.AbstractEventLoop) -> None:
    drive(steps(InThread(loop)))


def _without_stop_iteration(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except StopIteration as error:
        # A future cannot carry it: the waiting coroutine would wait for ever. A coroutine calls it its own.
        raise RuntimeError(f"{function!r} raised StopIteration") from error
