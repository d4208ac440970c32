"""Handing events to handlers: each gets them all, and none suffers from another's failure."""

from __future__ import annotations

import asyncio
import logging
from asyncio import get_running_loop
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextvars import copy_context
from typing import Any, TypeVar

from fastapi_events import lifecycle
from fastapi_events.context import handler_store, handling_loop, in_req_res_cycle
from fastapi_events.event import Event
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.process_loop import process_loop
from fastapi_events.subscriptions.runner import Suspended, drive

logger = logging.getLogger(__name__)

T = TypeVar("T")


def dispatch_hooks(handlers: Iterable[Any]) -> Sequence[Callable[[Event], None]]:
    """The `on_dispatch` of every handler that has one."""
    # Asked of the class: handlers need not derive from our base, and a mock has every attribute.
    return [each.on_dispatch for each in handlers if callable(getattr(type(each), "on_dispatch", None))]


def call_dispatch_hooks(handlers: Iterable[Any], event: Event) -> None:
    """Let every handler look at an event before it is taken in; one that raises refuses it."""
    for hook in dispatch_hooks(handlers):
        hook(event)


def report_lost(event: Event, handlers: Iterable[Any], reason: str) -> None:
    """Tell `lost` for each handler that will not get the event, or once if there is none."""
    for name in [_name(handler) for handler in handlers] or ["no handler"]:
        tell(Lifecycle.lost, event, handler=name, reason=reason)


async def deliver(owner: int, events: Sequence[Event]) -> list[Exception]:
    """Hand events to every handler of a scope; no handler sees another's failure.

    Returns:
        The errors of the handlers, already reported.
    """
    in_req_res_cycle.set(None)  # we run in a task of our own: what handlers dispatch is no longer collected
    handling_loop.set(get_running_loop())
    if owner not in handler_store:
        for event in events:
            report_lost(event, (), f"no middleware has the id {owner}")
        return []
    handlers = list(handler_store[owner])
    if len(handlers) == 1:
        outcomes = [await _hand_over(handlers[0], events)]
    else:
        outcomes = await asyncio.gather(*(_hand_over(handler, events) for handler in handlers))
    return [error for error in outcomes if error is not None]


def deliver_in_place(
    handler: Any, events: Sequence[Event], loop: asyncio.AbstractEventLoop | None
) -> list[Exception]:
    """`deliver`, where there is one handler and it never waits.

    Nobody can cancel that half-way, so that it needs no task, but only the context that one would have.
    """
    try:
        error = copy_context().run(_drive_outside, loop, _hand_over(handler, events))
    except Suspended as suspended:  # its events have been reported lost
        logger.error("A handler that never waits, as it says, has waited.", exc_info=suspended)
        error = suspended
    return [] if error is None else [error]


def _drive_outside(loop: asyncio.AbstractEventLoop | None, delivery: Coroutine[Any, Any, T]) -> T:
    in_req_res_cycle.set(None)  # what handlers dispatch is no longer collected
    handling_loop.set(loop)
    return drive(delivery)


def one_that_never_waits(owner: int) -> Any:
    """The scope's handler, if it has one only and that never waits; see `BaseEventHandler.never_waits`."""
    handlers = handler_store.get(owner, ())
    if len(handlers) != 1:  # type: ignore[arg-type]
        return None
    [handler] = handlers
    # A handler need not derive from our base, and a mock has every attribute.
    return handler if getattr(handler, "never_waits", None) is True else None


def handle_soon(handlers: Sequence[Any], event: Event) -> asyncio.Task[None] | None:
    """Hand one event, dispatched outside of any scope, to handlers on the loop that fits best.

    Returns:
        The task that handles it, where that is of this thread's loop.
    """

    async def handle() -> None:
        handling_loop.set(asyncio.get_running_loop())
        await asyncio.gather(*(_hand_over(handler, [event], one=True) for handler in handlers))

    if running_loop() is not None:
        return keep(handle())
    loop = handling_loop.get()
    if loop is None or loop.is_closed():
        loop = process_loop().loop
    loop.call_soon_threadsafe(lambda: keep(handle()))
    return None


async def deliver_after(
    previous: asyncio.Task[list[Exception]] | None, owner: int, events: Sequence[Event]
) -> list[Exception]:
    """Deliver events once an earlier delivery of their scope has ended, so that they keep their order."""
    if previous is not None and not previous.done():
        await asyncio.wait([previous])
    return await deliver(owner, events)


async def _hand_over(handler: Any, events: Sequence[Event], *, one: bool = False) -> Exception | None:
    try:
        await (handler.handle(events[0]) if one else handler.handle_many(events=events))
    except (asyncio.CancelledError, GeneratorExit):
        for event in events:
            report_lost(event, [handler], "cut off before it was handled")
        raise
    except Exception as error:
        lifecycle.report_failure(events, handler=_name(handler), error=error)
        return error
    return None


# The event loop itself keeps only weak references to tasks, so that they could vanish half done.
_kept: set[asyncio.Task[Any]] = set()


def keep(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task and hold on to it until it ends."""
    task = asyncio.get_running_loop().create_task(coroutine)
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    return task


async def settle(timeout: float) -> None:
    """Wait for what has been started on this loop and nobody waits for: flushes of late events.

    Parameters:
        timeout: Seconds; what is not done by then is reported lost when the loop ends.
    """
    loop = asyncio.get_running_loop()
    waiting = [task for task in _kept if task.get_loop() is loop and task is not asyncio.current_task()]
    if waiting:
        await asyncio.wait(waiting, timeout=timeout)


def _name(handler: Any) -> str:
    return str(getattr(handler, "name", None) or type(handler).__name__)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, if one does."""
    try:
        return get_running_loop()
    except RuntimeError:
        return None
