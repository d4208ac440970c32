"""Handing events to handlers: each gets them all, and none suffers from another's failure."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from contextvars import Token, copy_context
from typing import Any, TypeVar
from weakref import WeakSet

from fastapi_events import lifecycle, under_test
from fastapi_events.context import consequences, handler_store, handling_loop, in_req_res_cycle, reported
from fastapi_events.event import Event
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.process_loop import process_loop, running_loop
from fastapi_events.subscriptions.runner import Suspended, drive

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

EXIT_DEADLINE_SECONDS = 5.0
"""How long the end of the interpreter waits for what was handed to another thread's loop."""


def name_of(handler: Any) -> str:
    """How logs call a handler, which need not derive from our base: its name, else its class's."""
    name = getattr(handler, "name", None)
    return name if isinstance(name, str) else type(handler).__name__


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
    for name in [name_of(handler) for handler in handlers] or ["no handler"]:
        tell(Lifecycle.lost, event, handler=name, reason=reason)


def handlers_of(owner: int) -> Iterable[Any]:
    """The handlers of a scope; in a test, those that stand in for them."""
    return under_test.in_force(handler_store.get(owner, ()))


async def deliver(owner: int, events: Sequence[Event]) -> list[BaseException]:
    """Hand events to every handler of a scope; no handler sees another's failure.

    Returns:
        The errors of the handlers, already reported.
    """
    in_req_res_cycle.set(None)  # we run in a task of our own: what handlers dispatch is no longer collected
    handling_loop.set(asyncio.get_running_loop())
    if owner not in handler_store:
        for event in events:
            report_lost(event, (), f"no middleware has the id {owner}")
        return []
    handlers = list(handlers_of(owner))
    if len(handlers) == 1:
        return list(filter(None, [await _hand_over(handlers[0], events)]))
    return await _all(_hand_over(handler, events) for handler in handlers)


def deliver_in_place(
    handler: Any, events: Sequence[Event], loop: asyncio.AbstractEventLoop | None
) -> list[BaseException]:
    """`deliver`, where there is one handler and it never waits.

    Nobody can cancel that half-way, so that it needs no task, but only the context that one would have.
    """
    try:
        error = copy_context().run(_drive_outside, loop, _hand_over(handler, events))
    except Suspended as suspended:  # its events have been reported lost
        logger.error("A handler that never waits, as it says, has waited.", exc_info=suspended)
        return [suspended]
    return [] if error is None else [error]


def _drive_outside(loop: asyncio.AbstractEventLoop | None, delivery: Coroutine[Any, Any, T]) -> T:
    in_req_res_cycle.set(None)  # what handlers dispatch is no longer collected
    handling_loop.set(loop)
    return drive(delivery)


def one_that_never_waits(owner: int) -> Any:
    """The scope's handler, if it has one only and that never waits; see `BaseEventHandler.never_waits`."""
    handlers = handlers_of(owner)
    if len(handlers) != 1:  # type: ignore[arg-type]
        return None
    [handler] = handlers
    # A handler need not derive from our base, and a mock has every attribute.
    return handler if getattr(handler, "never_waits", None) is True else None


def handle_soon(handlers: Sequence[Any], event: Event) -> asyncio.Task[list[BaseException]] | None:
    """Hand one event, dispatched outside of any scope, to handlers on the loop that fits best.

    Where it was dispatched by the function of another event, whoever waits for that one waits for this, too.

    Returns:
        The task that handles it, where that is of this thread's loop.
    """

    async def handle() -> list[BaseException]:
        handling_loop.set(asyncio.get_running_loop())
        return await _all(_hand_over(handler, [event], one=True) for handler in handlers)

    waiting = consequences.get()
    if running_loop() is not None:
        task = keep(handle())
        if waiting is not None:
            waiting.follow(task)
        return task
    expected = None if waiting is None else waiting.expect()

    def start() -> None:
        task = keep(handle())
        if waiting is not None:
            waiting.follow(task, expected)

    loop = handling_loop.get()
    if loop is None or loop.is_closed():
        loop = process_loop().loop
    try:
        hand_to(loop, start)
    except RuntimeError as error:
        report_lost(event, handlers, f"the event loop that would have handled it is gone ({error})")
        if waiting is not None and expected is not None:
            waiting.end(expected, [])
    return None


async def deliver_after(
    previous: asyncio.Task[list[BaseException]] | None, owner: int, events: Sequence[Event]
) -> list[BaseException]:
    """Deliver events once an earlier delivery of their scope has ended, so that they keep their order."""
    if previous is not None and not previous.done():
        await asyncio.wait([previous])
    return await deliver(owner, events)


async def _hand_over(handler: Any, events: Sequence[Event], *, one: bool = False) -> BaseException | None:
    try:
        if one:
            return await outcome(handler, handler.handle, events[0], events=events)
        # Each handler gets its own deque, since it may take the events out.
        return await outcome(handler, _handle_many, handler, deque(events), events=events)
    except (asyncio.CancelledError, GeneratorExit):
        for event in events:
            report_lost(event, [handler], "cut off before it was handled")
        raise


def _handle_many(handler: Any, events: deque[Event]) -> Awaitable[Any]:
    return handler.handle_many(events=events)  # type: ignore[no-any-return]  # by name, as it always was


async def outcome(
    handler: Any, call: Callable[..., Awaitable[Any]], *args: Any, events: Sequence[Event]
) -> BaseException | None:
    """The error that a call of a handler raises, of whatever class, if it does.

    It is told to the observers, unless what was called has told it. A cancellation from outside goes through.

    Parameters:
        handler: Whose call it is.
        call: Is called with `args`, and awaited.
        events: What it handles.
    """
    token = reported.set({})
    try:
        await call(*args)
    except GeneratorExit:
        raise
    except asyncio.CancelledError as cancelled:
        if being_cancelled():
            raise
        return _told(cancelled_itself(name_of(handler), cancelled), handler, events, token)
    except BaseException as error:
        return _told(error, handler, events, token)
    else:
        reported.reset(token)
        return None
    finally:
        del token  # it holds what has been reported around, and an error holds this frame


def _told(
    error: BaseException, handler: Any, events: Sequence[Event], token: Token[dict[int, BaseException] | None]
) -> BaseException:
    lifecycle.report_unreported(events, handler=name_of(handler), error=error)
    reported.reset(token)
    lifecycle.mark_reported(error)  # for whoever waits for this, as the function that has dispatched does
    return error


def being_cancelled() -> bool:
    """Whether somebody has cancelled the current task, rather than that it waited for what was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def cancelled_itself(name: str, cancelled: asyncio.CancelledError) -> RuntimeError:
    """The error of a call that nobody has cancelled, and that raised `CancelledError`."""
    error = RuntimeError(f"{name} cancelled itself")
    error.__cause__ = cancelled
    return error


async def _all(calls: Iterable[Coroutine[Any, Any, BaseException | None]]) -> list[BaseException]:
    return list(filter(None, await asyncio.gather(*calls)))  # in no variable: an error would hold this frame


# The event loop itself keeps only weak references to tasks, so that they could vanish half done.
_kept: set[asyncio.Task[Any]] = set()


def keep(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task and hold on to it until it ends."""
    task = asyncio.get_running_loop().create_task(coroutine)
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    return task


async def settle(timeout: float) -> None:
    """Wait for what has been started on this loop and nobody waits for, such as flushes of late events.

    Parameters:
        timeout: Seconds; what is not done by then is reported lost when the loop ends.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while (waiting := _kept_here()) and (left := end - loop.time()) > 0:
        await asyncio.wait(waiting, timeout=left)  # these may start others


def _kept_here() -> list[asyncio.Task[Any]]:
    loop = asyncio.get_running_loop()
    return [task for task in _kept if task.get_loop() is loop and task is not asyncio.current_task()]


_loops_of_others: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
"""Loops of other threads that were given events; the end of the interpreter waits for these."""

if hasattr(os, "register_at_fork"):  # in a child their threads are missing
    os.register_at_fork(after_in_child=_loops_of_others.clear)


def hand_to(loop: asyncio.AbstractEventLoop, call: Callable[[], Any]) -> None:
    """Have the loop of another thread start something that is kept.

    Raises:
        RuntimeError: When the loop is closed.
    """
    _loops_of_others.add(loop)
    loop.call_soon_threadsafe(call)


@atexit.register
def _settle_at_exit() -> None:
    for loop in list(_loops_of_others):
        if loop.is_running():
            with suppress(RuntimeError, TimeoutError):  # it ends just now, or is stuck
                ending = asyncio.run_coroutine_threadsafe(_settle_or_cut_off(), loop)
                ending.result(timeout=2 * EXIT_DEADLINE_SECONDS)


async def _settle_or_cut_off() -> None:
    await settle(EXIT_DEADLINE_SECONDS)
    left = _kept_here()
    for task in left:
        task.cancel()  # which reports its events lost
    if left:
        await asyncio.wait(left, timeout=EXIT_DEADLINE_SECONDS)
