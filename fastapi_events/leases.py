"""Extends the leases of what this process works at, for as long as it does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fastapi_events.errors import StorageError, StorageFull
from fastapi_events.per_process import PerProcess

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

LEASE_SECONDS = 60.0
"""How long a killed worker's claim keeps others from what it had begun."""

_EXTEND_EVERY_SECONDS = LEASE_SECONDS / 3

_WRITE_AGAIN_SECONDS = LEASE_SECONDS / 2
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0


def until_written(write: Callable[[], T], *, what: str, within: float = _WRITE_AGAIN_SECONDS) -> T:
    """Write what came of something held, and try again while the lease may last.

    Parameters:
        write: Writes it.
        what: Is told in the log, where it cannot be written.
        within: Seconds after which it is given up.

    Raises:
        StorageError: When it could not be written for so long, or there is no room for it.
    """
    ends, pause = time.monotonic() + within, _FIRST_PAUSE_SECONDS
    while True:
        try:
            return write()
        except StorageError as error:
            if isinstance(error, StorageFull) or time.monotonic() + pause > ends:
                raise
            logger.warning("%s cannot be written, and is tried again: %s", what, error)
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


class _Line:
    """The leases that one store extends, and the thread that asks it to."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.leases: dict[object, Callable[[], bool]] = {}
        self.thread: threading.Thread | None = None


class _Lines:
    """The leases that one process holds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[int, _Line] = {}

    def of(self, store: object) -> _Line:
        with self._lock:
            return self._lines.setdefault(id(store), _Line())


class Keeper:
    """Threads that extend the leases of this process, as long as there are any: one for each store.

    A store that hangs costs no lease of another. The threads start with the first lease and end with the
    process; a forked child starts its own.
    """

    def __init__(self, *, every: float = _EXTEND_EVERY_SECONDS) -> None:
        self._every = every
        self._lines = PerProcess(_Lines)

    @contextmanager
    def keep(self, extend: Callable[[], bool], *, of: object = None) -> Iterator[None]:
        """Call `extend` regularly while the block runs; it returns whether the lease is still held.

        Parameters:
            of: The store that it asks.
        """
        line, ticket = self._lines.get().of(of), object()
        with line.changed:
            line.leases[ticket] = extend
            if line.thread is None:
                line.thread = threading.Thread(
                    target=self._work, args=(line,), name="fastapi-events-leases", daemon=True
                )
                line.thread.start()
            line.changed.notify_all()
        try:
            yield
        finally:
            with line.changed:
                line.leases.pop(ticket, None)

    def _work(self, line: _Line) -> None:
        while True:
            with line.changed:
                while not line.leases:
                    line.changed.wait()
            time.sleep(self._every)  # a lease that begins meanwhile is nearly whole, and wakes no thread
            with line.changed:
                leases = list(line.leases.items())
            for ticket, extend in leases:
                try:
                    held = extend()
                except Exception as error:  # the store's; the lease may still be extended in time
                    logger.warning("A lease could not be extended: %s", error)
                    continue
                if not held:
                    with line.changed:
                        gone = line.leases.pop(ticket, None)
                    if gone is not None:  # otherwise it was given back while we asked
                        logger.warning(
                            "A lease has gone to another process, which may do the same work again."
                        )


keeper: Keeper = Keeper()
"""This process's keeper."""
