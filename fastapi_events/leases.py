"""Extends the leases of what this process works at, for as long as it does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi_events.per_process import PerProcess

logger: logging.Logger = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
"""How long a killed worker's claim keeps others from what it had begun."""

_EXTEND_EVERY_SECONDS = LEASE_SECONDS / 3


class _Kept:
    """The leases of one process, and the thread that extends them."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.leases: dict[object, Callable[[], bool]] = {}
        self.thread: threading.Thread | None = None


class Keeper:
    """A thread that extends the leases of this process, as long as there are any.

    It starts with the first lease and ends with the process; a forked child starts its own.
    """

    def __init__(self, *, every: float = _EXTEND_EVERY_SECONDS) -> None:
        self._every = every
        self._kept = PerProcess(_Kept)

    @contextmanager
    def keep(self, extend: Callable[[], bool]) -> Iterator[None]:
        """Call `extend` again and again while the block runs; it says whether the lease is still ours."""
        kept, ticket = self._kept.get(), object()
        with kept.changed:
            kept.leases[ticket] = extend
            if kept.thread is None:
                kept.thread = threading.Thread(
                    target=self._work, args=(kept,), name="fastapi-events-leases", daemon=True
                )
                kept.thread.start()
            kept.changed.notify_all()
        try:
            yield
        finally:
            with kept.changed:
                kept.leases.pop(ticket, None)

    def _work(self, kept: _Kept) -> None:
        while True:
            with kept.changed:
                while not kept.leases:
                    kept.changed.wait()
            time.sleep(self._every)  # whoever begins meanwhile has most of its lease left, and wakes nobody
            with kept.changed:
                leases = list(kept.leases.items())
            for ticket, extend in leases:
                try:
                    held = extend()
                except Exception as error:  # the store's; the lease may still be extended in time
                    logger.warning("A lease could not be extended: %s", error)
                    continue
                if not held:
                    with kept.changed:
                        gone = kept.leases.pop(ticket, None)
                    if gone is not None:  # otherwise it was given back while we asked
                        logger.warning(
                            "A lease has gone to another process, which may do the same work again."
                        )


keeper: Keeper = Keeper()
"""This process's keeper."""
