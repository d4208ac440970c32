"""What a subscription dispatches while it runs in a worker."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi_events.context import chained_ids
from fastapi_events.errors import FunctionExited
from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.task_queue.publish.flush_outcome import Flusher
from fastapi_events.ids import NamedIds
from fastapi_events.process_loop import process_loop
from fastapi_events.scope import collect_events
from fastapi_events.subscriptions.runner import InThread, OnLoop, drive


class Chained:
    """Publishes what a subscription has dispatched; when that fails, nothing is lost: it runs again.

    Parameters:
        handler: Whose subscription it is.
        flusher: Publishes events, or raises.
    """

    def __init__(self, handler: BaseEventHandler, flusher: Flusher) -> None:
        self.name: str = handler.name
        self._handler = handler
        self.flusher = flusher

    def on_dispatch(self, event: Event) -> None:
        self._handler.on_dispatch(event)

    async def handle_many(self, events: Iterable[Event]) -> None:
        await self.flusher.flush(list(events))

    def run(self, call: Callable[..., Coroutine[Any, Any, None]], *, ids: NamedIds, is_async: bool) -> None:
        """Call a function in a scope of its own, whose events go out once it has succeeded.

        Parameters:
            call: Calls it by the means that it is given as `caller`.
            ids: Those of its events. When it runs again, for whatever reason, they have the same.
            is_async: Whether it has to run on the process's loop, rather than in this thread.
        """
        token = chained_ids.set(ids)
        try:
            self._run(call, is_async=is_async)
        finally:
            chained_ids.reset(token)

    def _run(self, call: Callable[..., Coroutine[Any, Any, None]], *, is_async: bool) -> None:
        scope = collect_events([self], raise_errors=True)
        if is_async:
            process_loop().run(self._run_on_loop(scope, call))
            return
        with scope:
            try:
                drive(call(caller=InThread()))
            except (SystemExit, KeyboardInterrupt) as error:
                if _may_come_from_outside(error):
                    raise
                raise FunctionExited(error) from error

    @staticmethod
    async def _run_on_loop(scope: collect_events, call: Callable[..., Coroutine[Any, Any, None]]) -> None:
        async with scope:
            try:
                await call(caller=OnLoop())
            except (SystemExit, KeyboardInterrupt) as error:
                raise FunctionExited(error) from error


def _may_come_from_outside(error: BaseException) -> bool:
    """Whether it may be meant for the process: a signal's, which Python raises in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return False
    # Celery's own signals raise subclasses of it, and those of its pool's processes itself.
    return type(error) is not SystemExit or ends_a_pool_process(error)


def ends_a_pool_process(error: BaseException) -> bool:
    """Whether Celery's pool has raised it, in a process that got a signal to end, rather than a function."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__") == "billiard.common" for frame in frames)
