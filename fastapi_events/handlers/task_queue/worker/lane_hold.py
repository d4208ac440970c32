"""The lanes that a worker holds during one turn.

Whoever has lost a lane to another worker writes nothing into it any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from fastapi_events.errors import StorageError
from fastapi_events.handlers.task_queue.ordering import Order
from fastapi_events.ids import random_id
from fastapi_events.leases import LEASE_SECONDS, keeper, until_written
from fastapi_events.storage.lanes import Due, Finished, Lane, Move, Taken

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

_NOT_EARLY_SECONDS = 0.05


class LaneHold:
    """Takes lanes with a token of its own, keeps them, and writes what came of their items.

    Parameters:
        order: The lanes.
        limit: How many items of a lane are taken at once.
    """

    def __init__(self, order: Order, *, limit: int) -> None:
        self.due: list[tuple[Due, float]] = []
        """Bells that have to be rung at the end, each with its delay."""
        self._order = order
        self._lanes = order.lanes
        self._limit = limit
        self._token = random_id()
        self._following: Taken | None = None

    def take(self, lanes: Sequence[Lane]) -> Sequence[Taken]:
        """Hold lanes: those that nobody holds, and that have something to handle."""
        return self._lanes.take(lanes, token=self._token, lease=LEASE_SECONDS, limit=self._limit)

    def take_following(self) -> Taken | None:
        """The lane that `finish_and_take` has taken, once."""
        following, self._following = self._following, None
        return following

    @contextmanager
    def kept(self, lanes: Sequence[Lane]) -> Iterator[None]:
        """Keep lanes that are held while the block runs; where it ends the worker, others may have them."""
        if not lanes:
            yield
            return
        extend = partial(self._lanes.extend, lanes, token=self._token, lease=LEASE_SECONDS)
        try:
            with keeper.keep(extend, of=self._lanes):
                yield
        except BaseException:
            following = [] if self._following is None else [self._following.lane]
            for lane in [*lanes, *following]:  # those that are still held
                try:
                    self._lanes.release(lane, token=self._token)
                except StorageError as error:
                    logger.warning("The lane of %r for %s stays held: %s", lane.key, lane.target, error)
            raise

    def started(self, lane: Lane) -> int:
        """Note that the first item of a lane is begun.

        Returns:
            How many processes it has ended, as far as is known.
        """
        return self._lanes.started(lane, token=self._token)

    def is_held(self, lane: Lane) -> bool:
        """Extend a lane's lease; whether it is still held here."""
        extend = partial(self._lanes.extend, [lane], token=self._token, lease=LEASE_SECONDS)
        return bool(self._until_written(extend))

    def finish(self, moves: Sequence[Move]) -> Sequence[Finished]:
        """Write that items are done, and put others into the lanes where they wait next."""
        return self._until_written(partial(self._lanes.finish, moves, token=self._token)) if moves else ()

    def finish_and_take(self, move: Move, following: Lane) -> Finished:
        """Write that items are done, and take another lane in the same step."""
        finished, taken = self._until_written(
            partial(
                self._lanes.finish_and_take, move, [following],
                token=self._token, lease=LEASE_SECONDS, limit=self._limit,
            )
        )  # fmt: skip
        self._following = taken[0] if taken else None
        return finished

    def release(self, lane: Lane, *, after: float = 0.0, note: str | None = None) -> None:
        """Let others have a lane.

        Parameters:
            after: Seconds until its first item may be handled.
            note: What the next holder is to know of its attempts; None for what is there already.
        """
        release = partial(self._lanes.release, lane, token=self._token, after=after, note=note)
        due = self._until_written(release)
        if due is not None:
            self.due.append((due, after))

    def ring(self) -> None:
        """Ring the bells that are due, once nothing is held any more."""
        for delay in dict.fromkeys(delay for _, delay in self.due):
            due = [due for due, each in self.due if each == delay]
            # A bell that comes too early is heard in vain, and the next is rung seconds later.
            self._order.bells.ring(due, delay=delay + _NOT_EARLY_SECONDS if delay else 0.0)

    def _until_written(self, write: Callable[[], T]) -> T:
        return until_written(write, what=f"What came of an event in a lane of {self._order.destination}")
