"""The circuit breaker: remembers that a broker or store is away, so that not every flush has to find out."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fastapi_events.clock import monotonic
from fastapi_events.errors import NotPublished, StorageError


class NotAsked(NotPublished):
    """Raised instead of asking who is known to be away. Before events are lost, they have to be asked."""


class StoreNotAsked(StorageError):
    """Raised instead of asking a store that is known to be away."""


class CircuitBreaker:
    """Open while the broker is known to be away; then one flush in a while is let through, to see.

    Parameters:
        threshold: How many flushes fail in a row until it opens.
        pause: Seconds between two that are let through while it is open.
        clock: Monotonic seconds.
    """

    def __init__(
        self, *, threshold: int = 1, pause: float = 1.0, clock: Callable[[], float] = monotonic
    ) -> None:
        self._threshold = threshold
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._next_try = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the broker is known to be away."""
        return self._failures >= self._threshold

    def allows(self) -> bool:
        """Whether a flush may try the broker now; while it is open, this counts as the one that does."""
        if not self.is_open:
            return True
        with self._lock:
            now = self._clock()
            if now < self._next_try:
                return False
            self._next_try = now + self._pause
            return True

    def failed(self) -> None:
        """The broker did not take something."""
        with self._lock:
            self._failures += 1
            self._next_try = self._clock() + self._pause

    def succeeded(self) -> None:
        """The broker took something."""
        self._failures = 0
