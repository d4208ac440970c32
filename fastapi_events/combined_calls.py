"""Calls that several threads make at the same moment, made by one of them for all: one wait instead of many.

The thread that finds nobody calling makes its own call at once. What the others bring meanwhile, the next of
them makes together. Who is alone waits for nobody.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from fastapi_events.green_threads import are_threads_green
from fastapi_events.per_process import PerProcess

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE_SECONDS = 10.0
"""Whoever takes longer than that for the others was interrupted: they go on without it."""


class CombinedCalls(Generic[T, R]):
    """Calls that have one argument each.

    Parameters:
        together: Makes the calls of several arguments; their results, in the same order.
        alone: Makes the call of one, where nobody else calls, or calling together has failed; if not given,
            all of them fail then with the same error.
        size: How large an argument is.
        max_size: How large those of one group may be.
    """

    def __init__(
        self,
        together: Callable[[Sequence[T]], Sequence[R]],
        *,
        alone: Callable[[T], R] | None = None,
        size: Callable[[T], int] = lambda _: 1,
        max_size: int = 100,
    ) -> None:
        self._together = together
        self._alone = alone
        self._size = size
        self._max_size = max_size
        self._line: PerProcess[_Line[T, R]] = PerProcess(_Line)

    def __call__(self, argument: T) -> R:
        """Make a call.

        Raises:
            Exception: Whatever it raises.
        """
        if are_threads_green():  # their locks do not reach from one real thread to another
            return self._by_itself(argument)
        line, own = self._line.get(), _Part[T, R](argument, self._size(argument))
        try:
            if line.is_first(own) or own.wait(line):
                self._call_for_all(own.group)
        finally:
            if own.group:  # whatever has interrupted this thread, the others go on
                line.go_on(own, self._max_size)
        if own.error is not None and self._alone is None:
            copied = another_like(own.error) if own.is_in_group else None
            if copied is None:
                raise own.error
            raise copied from own.error
        return own.results[0] if own.results else self._by_itself(argument)

    def _by_itself(self, argument: T) -> R:
        return self._together([argument])[0] if self._alone is None else self._alone(argument)

    def _call_for_all(self, group: Sequence[_Part[T, R]]) -> None:
        if len(group) == 1 and self._alone is not None:
            group[0].results = [self._alone(group[0].argument)]
            return
        try:
            results = self._together([each.argument for each in group])
        except Exception as error:  # of whatever they call
            for each in group:
                each.error, each.is_in_group = error, len(group) > 1
        else:
            for each, result in zip(group, results, strict=True):
                each.results = [result]


def another_like(error: Exception) -> Exception | None:
    """Another error of the same kind and words, if one can be made of it.

    An error that several threads or tasks raise would gather the frames of all of them.
    """
    try:
        copied = copy.copy(error)
    except Exception:  # of a class that takes other arguments than it keeps
        return None
    return copied if type(copied) is type(error) and str(copied) == str(error) else None


class _Part(Generic[T, R]):
    """The call of one thread."""

    def __init__(self, argument: T, size: int) -> None:
        self.argument = argument
        self.size = size
        self.results: list[R] = []
        """Its result, once there is one."""
        self.error: Exception | None = None
        self.is_in_group = False
        """Whether others have the same error."""
        self.group: list[_Part[T, R]] = []
        """For whom its thread calls, itself included; nobody, if another calls for it."""
        self._turn = threading.Lock()
        self._turn.acquire()

    def wait(self, line: _Line[T, R]) -> bool:
        """Wait until the call is made, or this thread is to make those of a group; whether it is."""
        if not self._turn.acquire(timeout=_PATIENCE_SECONDS):
            line.leave(self)
        return bool(self.group)

    def wake(self) -> None:
        """Let its thread go on."""
        self._turn.release()


class _Line(Generic[T, R]):
    """The threads of one process that call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Part[T, R]] = []
        self._busy_until = 0.0

    def is_first(self, part: _Part[T, R]) -> bool:
        """Whether nobody calls just now; otherwise the part waits from now on."""
        now = time.monotonic()
        with self._lock:
            if now < self._busy_until:
                self._waiting.append(part)
                return False
            part.group = [part]
            self._busy_until = now + _PATIENCE_SECONDS
            return True

    def go_on(self, part: _Part[T, R], max_size: int) -> None:
        """A thread has called for its group: wake the others of it, and let one call for those that wait."""
        done, part.group = part.group, []
        with self._lock:
            following = self._take(max_size)
            self._busy_until = time.monotonic() + _PATIENCE_SECONDS if following else 0.0
            if following:
                following[0].group = following
        for each in (*following[:1], *done):
            if each is not part:
                each.wake()

    def leave(self, part: _Part[T, R]) -> None:
        """A part's thread waits no longer."""
        with self._lock:
            if part in self._waiting:
                self._waiting.remove(part)

    def _take(self, max_size: int) -> list[_Part[T, R]]:
        count, size = 0, 0
        for each in self._waiting:
            size += each.size
            if count and size > max_size:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken
