"""Ordering keys: events with the same key pass one after the other.

An event with an ordering key is put into lanes: first into one for its fan-out, then into one for each
subscription. The store of the lanes keeps it, and its place; `worker/turn.py` takes it from there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from fastapi_events.errors import StorageFull
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.bells import Bells
from fastapi_events.handlers.task_queue.messages import FAN_OUT_TURN
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.storage.lanes import Item, Lane, Lanes, Placed

logger: logging.Logger = logging.getLogger(__name__)


class Order:
    """The lanes of one handler.

    Parameters:
        lanes: Where its events wait.
        destination: Its name, so that several may share the store.
        sender: Takes bells to the broker.
    """

    def __init__(self, lanes: Lanes, destination: str, sender: Sender) -> None:
        self.lanes = lanes
        self.destination = destination
        self.bells: Bells = Bells(lanes, destination, sender)
        self._incarnation: str | None = None

    def lane(self, target: str, key: str) -> Lane:
        """The lane of a key.

        Parameters:
            target: What its items wait for: a subscription's name, or `FAN_OUT_TURN`.
        """
        return Lane(self.destination, target, key)

    def put(self, items: Mapping[Lane, Sequence[Item]]) -> Placed:
        """Put items into lanes; the caller rings the bells.

        Raises:
            StorageError: When the lanes cannot be reached; some items may have been put.
        """
        return self.lanes.put(items)

    def put_one(self, target: str, event: Event, text: str, queue: str) -> None:
        """Put an event into a lane, and ring.

        Raises:
            StorageError: When there is no room, or the lanes cannot be reached.
        """
        lane = self.lane(target, str(event.ordering_key))
        placed = self.put({lane: [Item(event.id, text, queue)]})
        if placed.full:
            raise no_room(lane, self.lanes)
        self.bells.ring(placed.due)

    def fan_out_lane(self, key: str) -> Lane:
        """The lane of a key in which events wait for their fan-out."""
        return self.lane(FAN_OUT_TURN, key)

    def look(self, *, unheard: bool = False) -> int:
        """Ring the bells of lanes that have waited for too long, and see whether the store has forgotten.

        Returns:
            How many were rung.

        Raises:
            StorageError: When the lanes cannot be asked.
        """
        incarnation = self.lanes.incarnation()
        if self._incarnation not in (None, incarnation):
            logger.error(
                "The store of the lanes of %s has forgotten what it held: events that waited there in order "
                "are lost. It needs persistence.", self.destination,
            )  # fmt: skip
        self._incarnation = incarnation
        return self.bells.look(unheard=unheard)


def no_room(lane: Lane, lanes: Lanes) -> StorageFull:
    """The error of a lane that is full."""
    return StorageFull(f"The lane of {lane.key!r} for {lane.target} holds {lanes.max_items} items at most.")
