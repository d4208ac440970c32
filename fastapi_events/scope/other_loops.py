"""Event loops that are not asyncio's: under trio, events are handled on the process's loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from fastapi_events.process_loop import process_loop, running_loop

T = TypeVar("T")


def check_that_a_loop_runs() -> None:
    """Say what is needed where neither asyncio nor trio runs.

    Raises:
        RuntimeError: When none of them does in this thread.
    """
    if running_loop() is None:
        _trio_token()


async def on_asyncio(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine that needs asyncio: here, or on the process's loop where trio runs this thread.

    What was begun there goes on even if the one who waits is cancelled.

    Raises:
        RuntimeError: When neither asyncio nor trio runs.
    """
    if running_loop() is not None:
        return await coroutine
    try:
        token = _trio_token()
    except RuntimeError:
        coroutine.close()
        raise
    # Trio runs, so that it has been imported; we never do.
    ended = sys.modules["trio"].Event()
    future = asyncio.run_coroutine_threadsafe(coroutine, process_loop().loop)

    def wake(_: object) -> None:
        with suppress(Exception):  # of trio, once its run is over: nobody waits any more
            token.run_sync_soon(ended.set)

    future.add_done_callback(wake)
    try:
        await ended.wait()
        return future.result()
    finally:
        del future  # an error would hold this frame, and the future the error


def _trio_token() -> Any:
    trio = sys.modules.get("trio")
    try:
        return trio.lowlevel.current_trio_token()  # type: ignore[union-attr]  # None raises AttributeError
    except (AttributeError, RuntimeError):
        raise RuntimeError(
            "No event loop runs here that events could be flushed from: an ASGI application needs a server "
            "on asyncio or trio, and `async with collect_events(…)` to be run by asyncio.run() or "
            "trio.run(). Where there is none, write `with collect_events(…)`."
        ) from None
