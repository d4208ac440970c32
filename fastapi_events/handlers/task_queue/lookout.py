"""The lookout: rings bells that were lost, in each worker and relay that knows of lanes."""

from __future__ import annotations

import logging
import math
import threading
import time

from fastapi_events.background_thread import BackgroundThread
from fastapi_events.handlers.task_queue.ordering import Order

logger: logging.Logger = logging.getLogger(__name__)

BUSY_SECONDS = 2.0
"""How often it looks while there is traffic in lanes."""

AGAIN_SECONDS = 0.5
"""How often it looks while broker or store are away, and for some seconds after that."""

IDLE_SECONDS = 10.0
"""How often it looks while there is none."""

_RECOVERS_SECONDS = 10.0
_STILL_BUSY_SECONDS = 60.0
_STOP_SECONDS = 5.0


class Lookout:
    """A thread that looks after the lanes of a handler; a forked child has none until it starts its own.

    Parameters:
        order: The lanes.
        busy: Seconds between two looks while there is traffic.
        idle: The same while there is none.
    """

    def __init__(self, order: Order, *, busy: float = BUSY_SECONDS, idle: float = IDLE_SECONDS) -> None:
        self._order = order
        self._busy = busy
        self._idle = idle
        self._seen = 0.0
        self._trouble: str | None = None
        self._thread = BackgroundThread(self._work, name=f"fastapi-events-lookout-{order.destination}")

    def start(self) -> None:
        """Begin to look, at first for all that waits, as whoever was at work before may have gone."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._thread.stop(_STOP_SECONDS)

    def traffic(self) -> None:
        """Something goes on in the lanes: look often for a while."""
        self._seen = time.monotonic()

    def _work(self, stopping: threading.Event) -> None:
        for_all_until = math.inf
        while True:
            looked = time.monotonic()
            is_well = self._looked(unheard=looked < for_all_until) and not self._order.bells.are_refused
            if not is_well:  # bells that were rung shortly before may have been lost with the broker
                for_all_until = looked + _RECOVERS_SECONDS
            elif for_all_until == math.inf:
                for_all_until = looked
            is_urgent = looked < for_all_until
            pause = min(self._busy, self._idle, AGAIN_SECONDS if is_urgent else math.inf)
            while not stopping.wait(pause):
                now = time.monotonic()
                if is_urgent or now - self._seen < _STILL_BUSY_SECONDS or now - looked >= self._idle - 0.1:
                    break
            if stopping.is_set():
                return

    def _looked(self, *, unheard: bool) -> bool:
        try:
            self._order.look(unheard=unheard)
        except Exception as error:  # the store's; the next look tries again
            if self._trouble is None:
                self._trouble = f"{type(error).__name__}: {error}"
                logger.warning(
                    "The lanes of %s cannot be looked at: %s", self._order.destination, self._trouble
                )
            return False
        if self._trouble is not None:
            logger.info("The lanes of %s can be looked at again.", self._order.destination)
            self._trouble = None
        return True
