"""Bells: messages which say that something waits in a lane. They may be lost, doubled and reordered.

The store of the lanes says when one has to be rung, and rings it again by anybody who looks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from fastapi_events.errors import StorageError
from fastapi_events.handlers.task_queue.messages import FAN_OUT_TURN, Bell, Message, fan_out_name
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.ids import random_id
from fastapi_events.storage.lanes import Due, Lane, Lanes

logger: logging.Logger = logging.getLogger(__name__)

MAX_LANES_PER_BELL = 50
"""Lanes of fan-out that one message names."""

MAX_LANES_PER_TURN = 10
"""Lanes of a function that one message names: who hears it works at one after the other."""

_SEND_SECONDS = 2.0
_LOOK_AT = 100


class Bells:
    """Rings the bells of a handler's lanes.

    Parameters:
        lanes: Where events wait.
        destination: The handler's name, so that several may share the store.
        sender: The way to the broker.
    """

    def __init__(self, lanes: Lanes, destination: str, sender: Sender) -> None:
        self._lanes = lanes
        self._destination = destination
        self._sender = sender
        self.are_refused: bool = False
        """Whether the broker did not take the last of them."""

    def ring(self, due: Sequence[Due], *, delay: float = 0.0, apart: bool = False) -> bool:
        """Ring bells. Those that cannot be rung are due at once for whoever looks.

        Parameters:
            delay: Seconds until they are to be heard.
            apart: Each lane has a message of its own, for several workers to hear.

        Returns:
            Whether the broker has them.
        """
        if not due:
            return True
        try:
            self._sender.send(list(_messages(due, delay, apart)), timeout=_SEND_SECONDS)
        except Exception as error:  # whatever the broker's client raises
            logger.debug("%d bells of %s cannot be rung: %s", len(due), self._destination, error)
            self.are_refused = True
            self.missed(due)
            return False
        self.are_refused = False
        return True

    def missed(self, due: Sequence[Due]) -> None:
        """Bells could not be rung: they are due at once for whoever looks."""
        try:
            self._lanes.missed([each.lane for each in due])
        except StorageError as error:  # they are due in some seconds all the same
            logger.debug("The lanes of %s cannot be told of missed bells: %s", self._destination, error)

    def look(self, *, unheard: bool = False) -> int:
        """Ring the bells of lanes that have waited for too long.

        Parameters:
            unheard: Also of those that were rung only some seconds ago, as when a worker starts.

        Returns:
            How many were rung.

        Raises:
            StorageError: When the lanes cannot be asked.
        """
        rung = 0
        self.are_refused = False
        while due := self._lanes.due(self._destination, limit=_LOOK_AT, unheard=unheard):
            if not self.ring(due):
                break
            rung += len(due)
            if len(due) < _LOOK_AT:
                break
        return rung


def _messages(due: Sequence[Due], delay: float, apart: bool) -> Iterator[Message]:
    together: dict[tuple[str, str], list[Lane]] = {}
    for lane, queue in due:
        together.setdefault((lane.target, queue), []).append(lane)
    for (target, queue), lanes in together.items():
        is_fan_out = target == FAN_OUT_TURN
        task = fan_out_name(queue) if is_fan_out else target
        most = 1 if apart else MAX_LANES_PER_BELL if is_fan_out else MAX_LANES_PER_TURN
        for begin in range(0, len(lanes), most):
            bell = Bell([lane.key for lane in lanes[begin : begin + most]], queue)
            yield Message(task, queue, bell.text, random_id(), delay)
