"""Keeping leases: who works at something for longer than its lease extends it meanwhile."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger: logging.Logger = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
"""How long a killed worker's claim keeps others from what it had begun."""

_EXTEND_EVERY_SECONDS = LEASE_SECONDS / 3


class Keeper:
    """A thread that extends the leases of this process, as long as there are any.

    It starts with the first lease and ends with the process; a forked child starts its own.
    """

    def __init__(self, *, every: float = _EXTEND_EVERY_SECONDS) -> None:
        self._every = every
        self._start_over()

    def _start_over(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._kept: dict[object, Callable[[], bool]] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def keep(self, extend: Callable[[], bool]) -> Iterator[None]:
        """Call `extend` again and again while the block runs; it says whether the lease is still ours."""
        if self._pid != os.getpid():
            self._start_over()
        ticket = object()
        with self._changed:
            self._kept[ticket] = extend
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="fastapi-events-leases", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._kept.pop(ticket, None)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._kept:
                    self._changed.wait()
            time.sleep(self._every)  # whoever begins meanwhile has most of its lease left, and wakes nobody
            with self._changed:
                kept = list(self._kept.items())
            for ticket, extend in kept:
                try:
                    held = extend()
                except Exception as error:  # the store's; the lease may still be extended in time
                    logger.warning("A lease could not be extended: %s", error)
                    continue
                if not held:
                    with self._changed:
                        gone = self._kept.pop(ticket, None)
                    if gone is not None:  # otherwise it was given back while we asked
                        logger.warning(
                            "A lease has gone to another process, which may do the same work again."
                        )


keeper: Keeper = Keeper()
"""This process's keeper."""
