"""The one event loop that a process keeps for work which did not bring its own.

A worker runs async subscriptions on it for as long as the process lives, so that connection pools survive
from one event to the next. Its thread is a daemon: unlike a loop that has to be stopped, it never keeps a
dying process alive.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import math
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from fastapi_events import green_threads
from fastapi_events.per_process import PerProcess
from fastapi_events.thread_calls import ThreadCalls

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

# A thread that waits for a lock does not notice an exception raised in it from outside, which is how
# Dramatiq enforces time limits; so it looks up this often.
INTERRUPT_CHECK_SECONDS = 0.1

# How long a cancelled coroutine may take to clean up before its thread goes on without it.
CANCEL_GRACE_SECONDS = 5.0


class LoopThread:
    """An event loop that runs for ever in a daemon thread.

    Nobody ends it: it serves the process until the process ends.

    Parameters:
        loop: A loop that runs in a thread of somebody else's; one of our own is started if not given.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._is_ours = loop is None
        self._has_ended = False
        self.loop: asyncio.AbstractEventLoop
        if loop is None and green_threads.are_threads_green():
            # A green thread shares the real one with others, which would all find a loop running. What gevent
            # has put in place of selectors belongs to the thread that makes it.
            made: list[bool] = []  # a lock of a green thread does not reach a real one
            green_threads.start_real_thread(lambda: self._make_and_serve(made))
            while not made:
                time.sleep(0.001)
            return
        # A loop keeps the context that it is made in, and with it the scope of who asks for it first.
        self.loop = loop or contextvars.Context().run(asyncio.new_event_loop)
        if self._is_ours:
            threading.Thread(target=self._serve, name="fastapi-events-loop", daemon=True).start()

    @property
    def is_running(self) -> bool:
        """Whether somebody who waits for the loop will be answered."""
        return not self._has_ended if self._is_ours else self.loop.is_running()

    def run(self, coroutine: Coroutine[Any, Any, T], *, calls: ThreadCalls | None = None) -> T:
        """Run a coroutine on the loop and wait for it, open to interruption by the engine's time limit.

        Parameters:
            calls: What the coroutine has this thread do meanwhile.

        Raises:
            RuntimeError: On the loop itself, and when the loop ends before the coroutine.
        """
        if running_loop() is self.loop:
            coroutine.close()
            raise RuntimeError("Waiting for the event loop inside of it would never end; await instead.")
        supervised = _Supervised(coroutine, calls or ThreadCalls())
        try:
            self.loop.call_soon_threadsafe(supervised.start)
            # A call: Python 3.13 leaves what is raised at a loop's last step out of the `try` around it.
            self._serve_calls_of(supervised)
        except BaseException:
            if not supervised.has_ended and self.is_running:
                self.loop.call_soon_threadsafe(supervised.cancel)
                self._serve_calls_of(supervised, until=time.monotonic() + CANCEL_GRACE_SECONDS)
            raise
        if not self.is_running and not supervised.has_returned:
            raise RuntimeError("The process's event loop has ended, and with it what ran on it.")
        return supervised.result()

    def _serve_calls_of(self, supervised: _Supervised[Any], *, until: float = math.inf) -> None:
        """Make the calls of a coroutine, which wait for this thread, until it has ended."""
        while time.monotonic() < until and supervised.calls.serve(INTERRUPT_CHECK_SECONDS):
            if not self.is_running:
                break

    def _make_and_serve(self, made: list[bool]) -> None:
        self.loop = asyncio.new_event_loop()
        made.append(True)
        self._serve()

    def _serve(self) -> None:
        try:
            while True:
                try:
                    self.loop.run_forever()
                except (SystemExit, KeyboardInterrupt) as error:  # of a task that nothing awaits
                    logger.error("A task on the process's event loop raised %r; the loop goes on.", error)
                else:
                    break
        finally:
            self._has_ended = True
            self._close()

    def _close(self) -> None:
        """Cancel what has been left on a loop that somebody has stopped."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.wait(tasks) if tasks else asyncio.sleep(0))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


class _Supervised(Generic[T]):
    """A coroutine that can be cancelled at any moment, also before it has started."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], calls: ThreadCalls) -> None:
        self.calls = calls
        self.has_ended = False
        self._coroutine = coroutine
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        self._outcome: list[T] = []
        self._error: BaseException | None = None

    def start(self) -> None:
        """To be called on the loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            if self._cancelled:
                self._coroutine.close()
                raise asyncio.CancelledError
            self._outcome.append(await self._coroutine)
        except asyncio.CancelledError:
            self._error = concurrent.futures.CancelledError()
        except BaseException as error:
            # SystemExit as well: raised on the loop it would end the loop, and it is the waiting thread's.
            self._error = error
        finally:
            self.has_ended = True
            self.calls.close()

    def cancel(self) -> None:
        """To be called on the loop."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    @property
    def has_returned(self) -> bool:
        """Whether the coroutine has come to its own end, be it an error."""
        return bool(self._outcome) or not isinstance(self._error, concurrent.futures.CancelledError | None)

    def result(self) -> T:
        """What the coroutine returned; raises what it raised."""
        error, self._error = self._error, None
        if error is None:
            return self._outcome[0]
        try:
            raise error
        finally:
            del error  # its traceback holds this frame


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_lock = PerProcess(threading.Lock)
_current: PerProcess[LoopThread] = PerProcess(LoopThread)


_preferred: list[Callable[[], asyncio.AbstractEventLoop | None]] = []


def process_loop() -> LoopThread:
    """This process's loop, started at first use, and anew when it has ended and in a forked child.

    A loop that somebody else runs in a thread of the process, as Dramatiq's middleware does, comes first.
    """
    with _lock.get():
        for find in _preferred:
            loop = find()
            if loop is not None and loop.is_running():
                current = _current.made
                if current is None or current.loop is not loop:
                    current = LoopThread(loop)
                    _current.set(current)
                return current
        if not _current.get().is_running:
            _current.set(LoopThread())
        return _current.get()


def prefer(find: Callable[[], asyncio.AbstractEventLoop | None]) -> None:
    """Let a loop be this process's for as long as it runs, so that both share their async clients.

    Parameters:
        find: Finds the loop, if there is one; it is asked each time.
    """
    if find not in _preferred:
        _preferred.append(find)
