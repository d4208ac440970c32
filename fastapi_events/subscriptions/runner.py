"""Runs a subscription's function for one event: dependencies, the call, and their teardown."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from fastapi_events.event import Event
from fastapi_events.process_loop import process_loop
from fastapi_events.subscriptions.dependencies import Caller, Overrides, solve
from fastapi_events.subscriptions.plan import Plan

T = TypeVar("T")


class OnLoop:
    """Calls from a coroutine: what may block runs in a thread, with the context copied."""

    async def sync(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        context = contextvars.copy_context()
        call = functools.partial(context.run, _without_stop_iteration, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(None, call)

    async def coro(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)


class InThread:
    """Calls from a worker's thread: what may block simply does, and coroutines run on the process's loop.

    Its methods never suspend, which is what lets `drive` run them without an event loop.
    """

    async def sync(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    async def coro(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        async def call() -> Any:
            return await function(*args, **kwargs)

        return process_loop().run(call())


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
        await _call(plan, caller, (event,), {})
        return
    arguments: dict[str, Any] = {}
    first: tuple[Any, ...] = ()
    if plan.payload_type is not None:
        rebuilt = plan.payload_type.from_json if from_wire else plan.payload_type.from_python
        payload = rebuilt(event.payload)
        first = (payload,) if plan.payload_argument else (event.with_payload(payload),)
    elif plan.takes_event:
        first = (event,)
    if plan.first_name is not None:
        arguments[plan.first_name] = first[0]
        first = ()
    for name in plan.events:
        arguments[name] = event
    for name, kind in plan.payloads:
        arguments[name] = kind.from_json(event.payload) if from_wire else kind.from_python(event.payload)
    if not plan.dependencies:
        await _call(plan, caller, first, arguments)
        return
    cache: dict[Callable[..., Any], Any] = {}
    async with AsyncExitStack() as stack:
        for name, dependency in plan.dependencies:
            arguments[name] = await solve(
                dependency, event, caller=caller, overrides=overrides, cache=cache, stack=stack
            )
        await _call(plan, caller, first, arguments)


async def _call(plan: Plan, caller: Caller, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if plan.is_async:
        await caller.coro(plan.function, *args, **kwargs)
        return
    result = await caller.sync(plan.function, *args, **kwargs)
    if inspect.isawaitable(result):  # a decorator hid that the function is async
        await caller.coro(_identity, result)


async def _identity(awaitable: Any) -> None:
    await awaitable


def _without_stop_iteration(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except StopIteration as error:
        # A future cannot carry it: whoever waits for this thread would wait for ever.
        raise RuntimeError(f"{function!r} raised StopIteration") from error
