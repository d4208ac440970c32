"""Calls that may never return, made in a thread of their own, so that whoever asks waits for so long only."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastapi_events.per_process import PerProcess

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What has come of a call.

    Parameters:
        value: What it returned; None where it failed.
        error: What it raised.
        at: When it ended, on the monotonic clock.
    """

    value: T | None
    error: Exception | None
    at: float


class _State(Generic[T]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.latest: Future[Answer[T]] | None = None


class BoundedCall(Generic[T]):
    """A call of which at most one is under way, however many ask for it.

    The thread is a daemon: a call that hangs keeps neither its askers nor the process.

    Parameters:
        call: What is called.
        good_for: Seconds for which an answer is given to others who ask.
    """

    def __init__(self, call: Callable[[], T], *, good_for: float = 1.0) -> None:
        self._call = call
        self._good_for = good_for
        self._state: PerProcess[_State[T]] = PerProcess(_State)

    async def answer(self, *, timeout: float) -> Answer[T] | None:
        """Wait for an answer, on the event loop; None where there is none in so many seconds."""
        future = asyncio.wrap_future(self._latest())
        done, _ = await asyncio.wait([future], timeout=timeout)
        return future.result() if done else None

    def wait(self, *, timeout: float) -> Answer[T] | None:
        """Wait, in a thread, for a call that may never return."""
        try:
            return self._latest().result(timeout)
        except TimeoutError:
            return None

    @property
    def is_under_way(self) -> bool:
        """Whether a call has begun and not ended."""
        latest = self._state.get().latest
        return latest is not None and not latest.done()

    @property
    def is_good(self) -> bool:
        """Whether a call is under way, or its answer is still given."""
        latest = self._state.get().latest
        return latest is not None and not self._is_old(latest)

    def begin(self) -> Future[Answer[T]]:
        """Begin, unless a call is under way or an answer is still good.

        Returns:
            The answer to come. It is there for whoever has begun, however late that looks for it; `wait` and
            `answer` ask again once it is old.
        """
        return self._latest()

    def _latest(self) -> Future[Answer[T]]:
        state = self._state.get()
        with state.lock:
            latest = state.latest
            if latest is None or self._is_old(latest):
                latest = state.latest = Future()
                threading.Thread(
                    target=self._run, args=(latest,), name="fastapi-events-bounded-call", daemon=True
                ).start()
            return latest

    def _is_old(self, latest: Future[Answer[T]]) -> bool:
        return latest.done() and time.monotonic() - latest.result().at > self._good_for

    def _run(self, future: Future[Answer[T]]) -> None:
        value, error = None, None
        try:
            value = self._call()
        except Exception as raised:  # for whoever asks
            error = raised
        future.set_result(Answer(value, error, time.monotonic()))


def made_at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """What calls return that are made at the same time, so that one that takes long delays no other.

    Parameters:
        calls: Each of them ends by itself.
    """
    if len(calls) < 2:
        return [call() for call in calls]
    with ThreadPoolExecutor(len(calls), thread_name_prefix="fastapi-events-made-at-once") as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]
