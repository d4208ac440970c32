"""A fork waits until no thread is inside SQLite, whose locks a child would inherit as they are."""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType

_PATIENCE_SECONDS = 5.0
"""A thread may wait that long for another process that writes; the one that forks may itself be inside."""


class _Gate:
    """Open to any number of threads, and closed around a fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    def __enter__(self) -> None:
        with self._changed:
            if self._closed:
                # No loop of ours: Python 3.13 leaves what is raised at its last step, as time limits are, out
                # of the block, whose lock would stay taken.
                self._changed.wait_for(lambda: not self._closed)
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in, and wait until all are out."""
        self._changed.acquire()
        self._closed = True
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._inside and (left := deadline - time.monotonic()) > 0:
            self._changed.wait(left)

    def open(self) -> None:
        """Go on as before."""
        self._closed = False
        self._changed.notify_all()
        self._changed.release()

    def reset(self) -> None:
        """Begin anew, in a child: only the thread that forked is there."""
        self._changed, self._inside, self._closed = threading.Condition(), 0, False


gate: _Gate = _Gate()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=gate.close, after_in_parent=gate.open, after_in_child=gate.reset)
