"""Extends the leases of what this process works at, for as long as it does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fastapi_events.errors import StorageError, StorageFull
from fastapi_events.watched_items import WatchedItems

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


class _Lease:
    """A lease that is to be extended."""

    def __init__(self, extend: Callable[[], bool]) -> None:
        self.extend = extend
        self.is_given_back = False


class Keeper:
    """Extends the leases of this process, by a thread for each store.

    A store that hangs costs no lease of another. A lease that begins between two rounds is nearly whole, and
    waits for the next one. A forked child extends its own.
    """

    def __init__(self, *, every: float = _EXTEND_EVERY_SECONDS) -> None:
        self._every = every
        self._stores: dict[int, WatchedItems[_Lease]] = {}

    @contextmanager
    def keep(self, extend: Callable[[], bool], *, of: object = None) -> Iterator[None]:
        """Call `extend` regularly while the block runs; it returns whether the lease is still held.

        Parameters:
            of: The store that it asks.
        """
        lease = _Lease(extend)
        with self._leases_of(of).watch(lease):
            try:
                yield
            finally:
                lease.is_given_back = True

    def _leases_of(self, store: object) -> WatchedItems[_Lease]:
        found = self._stores.get(id(store))
        if found is None:
            leases = WatchedItems(_extended, every=self._every, name="fastapi-events-leases")
            found = self._stores.setdefault(id(store), leases)
        return found


def _extended(lease: _Lease) -> bool:
    """Extend a lease; whether there is one to extend once more."""
    try:
        is_held = lease.extend()
    except Exception as error:  # the store's; the lease may still be extended in time
        logger.warning("A lease could not be extended: %s", error)
        return True
    if not is_held and not lease.is_given_back:  # it may have been, while we asked
        logger.warning("A lease has gone to another process, which may do the same work again.")
    return is_held


keeper: Keeper = Keeper()
"""This process's keeper."""
