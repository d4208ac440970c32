"""The one event loop that a process keeps for work which did not bring its own.

A worker runs async subscriptions on it for as long as the process lives, so that connection pools survive
from one event to the next. Its thread is a daemon: unlike a loop that has to be stopped, it never keeps a
dying process alive.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# A thread that waits for a lock does not notice an exception raised in it from outside, which is how
# Dramatiq enforces time limits; so it looks up this often.
INTERRUPT_CHECK_SECONDS = 0.1

# How long a cancelled coroutine may take to clean up before its thread goes on without it.
CANCEL_GRACE_SECONDS = 5.0


class LoopThread:
    """An event loop that runs for ever in a daemon thread.

    Nobody ends it: it serves the process until the process ends.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="fastapi-events-loop", daemon=True)
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a coroutine on the loop, with the caller's context."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it, open to interruption by the engine's time limit."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("Waiting for the event loop inside of it would never end; await instead.")
        supervised = _Supervised(coroutine)
        try:
            future = self.submit(supervised.run())
            while True:
                try:
                    return future.result(timeout=INTERRUPT_CHECK_SECONDS)
                except concurrent.futures.TimeoutError:
                    if future.done():  # it is the coroutine's own TimeoutError
                        raise
        except BaseException:
            if not supervised.ended.is_set():
                self.loop.call_soon_threadsafe(supervised.cancel)
                supervised.ended.wait(CANCEL_GRACE_SECONDS)
            raise


class _Supervised(Generic[T]):
    """A coroutine that can be cancelled at any moment, also before it has started."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.ended = threading.Event()
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    async def run(self) -> T:
        self._task = asyncio.current_task()
        try:
            if self._cancelled:
                self._coroutine.close()
                raise asyncio.CancelledError
            return await self._coroutine
        finally:
            self.ended.set()

    def cancel(self) -> None:
        """To be called on the loop."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()


_lock = threading.Lock()
_current: tuple[int, LoopThread] | None = None


def process_loop() -> LoopThread:
    """This process's loop, started at first use; a forked child starts its own."""
    global _current
    with _lock:
        if _current is None or _current[0] != os.getpid():
            _current = os.getpid(), LoopThread()
        return _current[1]
