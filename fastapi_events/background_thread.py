"""A thread that works in the background of a process until it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from fastapi_events.per_process import PerProcess


class _Running(NamedTuple):
    """The thread, and how to end it."""

    thread: threading.Thread
    stopping: threading.Event


class BackgroundThread:
    """A daemon thread between `start` and `stop`; a forked child has none until it starts its own.

    Parameters:
        work: Called in the thread, with the event that is set when it has to return.
        name: The thread's name.
    """

    def __init__(self, work: Callable[[threading.Event], None], *, name: str) -> None:
        self._work = work
        self._name = name
        self._running = PerProcess(self._begin)

    @property
    def is_started(self) -> bool:
        """Whether this process has started it, and not stopped it."""
        return self._running.made is not None

    def start(self) -> None:
        """Begin to work, unless it does already."""
        self._running.get()

    def stop(self, timeout: float) -> None:
        """Tell it to end, and wait so many seconds for that. It may be started again."""
        running = self._running.take()
        if running is not None:
            running.stopping.set()
            running.thread.join(timeout)

    def _begin(self) -> _Running:
        stopping = threading.Event()
        thread = threading.Thread(target=self._work, args=(stopping,), name=self._name, daemon=True)
        thread.start()
        return _Running(thread, stopping)
