"""Calls that a coroutine has made by a thread, so that what may block does not stop the event loop.

One thread makes all of them, one after the other and in one context: what a dependency has opened is closed
where it was opened.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from fastapi_events import green_threads

_MISSING: Final = object()

_SHORTEST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.02


class _Call(NamedTuple):
    """What the thread is to do, and the future that waits for it."""

    function: Callable[[], Any]
    context: contextvars.Context
    done: asyncio.Future[Any]


class ThreadCalls:
    """The calls of one coroutine. The thread that makes them comes to `serve`, on its own account."""

    def __init__(self) -> None:
        self._waiting = _PolledQueue() if green_threads.are_threads_green() else SimpleQueue[Any]()
        self._context: contextvars.Context | None = None
        self._seen: Mapping[contextvars.ContextVar[Any], Any] = {}
        self._closed = False

    async def make(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Have a function called, with the context variables that are set here; to be awaited on a loop."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call = _Call(lambda: function(*args, **kwargs), contextvars.copy_context(), done)
        self._waiting.put(call)
        try:
            return await done
        finally:
            # The error's traceback holds this frame, which must not hold the error.
            del call, done

    def close(self) -> None:
        """Let the thread go, once it has made the calls that are waiting."""
        self._closed = True
        self._waiting.put(None)

    def serve(self, seconds: float | None = None) -> bool:
        """Make the next call; wait for it so long, or until there is one.

        Returns:
            Whether there may be more.
        """
        try:
            call = self._waiting.get(timeout=seconds)
        except Empty:
            return True
        if call is None:
            return False
        self._make(call)
        return True

    def serve_all(self) -> None:
        """Make calls until there are none to come."""
        while self.serve():
            pass

    def _make(self, call: _Call) -> None:
        loop, done = call.done.get_loop(), call.done
        try:
            result = self._context_of(call).run(call.function)
        except StopIteration as error:
            # A future cannot carry it: the waiting coroutine would wait for ever.
            outcome = RuntimeError(f"{call.function!r} raised StopIteration")
            outcome.__cause__ = error
            loop.call_soon_threadsafe(_fail, done, outcome)
        except BaseException as error:
            loop.call_soon_threadsafe(_fail, done, error)
        else:
            loop.call_soon_threadsafe(_succeed, done, result)

    def _context_of(self, call: _Call) -> contextvars.Context:
        """The thread's own context, brought up to date with what has been set on the loop since."""
        if self._context is None:
            self._context = call.context.copy()
        else:
            for variable, value in call.context.items():
                if self._seen.get(variable, _MISSING) is not value:
                    self._context.run(variable.set, value)
        self._seen = call.context
        return self._context


def _succeed(done: asyncio.Future[Any], result: Any) -> None:
    if not done.done():  # its coroutine may have been cancelled
        done.set_result(result)


def _fail(done: asyncio.Future[Any], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)


class _PolledQueue:
    """A queue between a real thread and a green one, whose locks do not reach from one to the other."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)

    def get(self, timeout: float | None = None) -> Any:
        until = None if timeout is None else time.monotonic() + timeout
        pause = _SHORTEST_PAUSE
        while not self._items:
            if until is not None and time.monotonic() >= until:
                raise Empty
            time.sleep(pause)  # lets other green threads run
            pause = min(2 * pause, _LONGEST_PAUSE)
        return self._items.popleft()
