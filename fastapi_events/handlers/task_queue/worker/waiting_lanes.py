"""Lanes that one message names, and that wait while a worker works at the first of them.

A quick function is done with all of them before another worker would have heard of one. Once they have to
wait, each is rung in a message of its own, for whoever is free.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from fastapi_events.handlers.task_queue.bells import Bells
from fastapi_events.storage.lanes import Due, Lane
from fastapi_events.watched_items import WatchedItems

PATIENCE_SECONDS = 0.05
"""How long lanes wait for the one before them."""


class WaitingLanes:
    """Lanes that a worker has still to work at, unless they are handed over.

    Parameters:
        lanes: In their order.
        queue: Where they were rung.
    """

    def __init__(self, lanes: Iterable[Lane], queue: str) -> None:
        self._lanes = deque(lanes)
        self._queue = queue
        self.since: float = time.monotonic()

    def __len__(self) -> int:
        return len(self._lanes)

    def next(self) -> Lane | None:
        """The next lane to work at; None when all are done, or somebody else gets to hear of them."""
        try:
            return self._lanes.popleft()  # in one step: another thread may be handing them over
        except IndexError:
            return None

    def rest(self) -> list[Due]:
        """All that are left, to be rung: they wait here no more."""
        lanes = iter(self.next, None)
        return [Due(lane, self._queue) for lane in lanes]


class Handover:
    """Rings the bells of lanes that wait for too long, from a thread.

    Parameters:
        bells: Rings them.
        patience: Seconds that they wait.
    """

    def __init__(self, bells: Bells, *, patience: float = PATIENCE_SECONDS) -> None:
        self._bells = bells
        self._patience = patience
        self._watched = WatchedItems(
            self._may_wait_longer, every=patience / 2, name="fastapi-events-handover"
        )

    @property
    def is_idle(self) -> bool:
        """Whether no lanes wait here."""
        return self._watched.is_idle

    def watch(self, waiting: WaitingLanes) -> AbstractContextManager[None]:
        """Hand lanes over that wait for too long while the block runs."""
        return self._watched.watch(waiting) if waiting else nullcontext()

    def hand_over(self, waiting: WaitingLanes) -> None:
        """Ring the bells of all that wait, each for itself."""
        self._bells.ring(waiting.rest(), apart=True)

    def _may_wait_longer(self, waiting: WaitingLanes) -> bool:
        if time.monotonic() - waiting.since < self._patience:
            return True
        self.hand_over(waiting)
        return False
