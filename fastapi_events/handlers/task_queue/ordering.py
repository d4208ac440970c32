"""Ordering keys: events with the same key pass one after the other.

An event with an ordering key waits in lanes: first in one for its fan-out, then in one for each
subscription. Only the message of a lane's head is in the broker. Whoever has done with the head leaves the
lane and then sends the message of the next. Should it die in between, its own message is delivered again,
finds that its item is gone, and sends the next one's message instead.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.addresses import Addresses
from fastapi_events.handlers.task_queue.messages import LANE, Message
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.handlers.task_queue.worker.outcome import LONGEST_PAUSE_SECONDS, TryLater
from fastapi_events.leases import LEASE_SECONDS, keeper
from fastapi_events.storage.base import GONE, HEAD, Busy
from fastapi_events.storage.lanes import Lanes

_DIED_IN_BETWEEN_SECONDS = 10.0
"""How long a lane may stand still until another delivery of an item that is done moves it on."""

_SWEEP_EVERY_SECONDS = 30.0


class Order:
    """Lets events with the same ordering key pass one after the other.

    Parameters:
        lanes: Where they wait.
        destination: The handler's name, so that several may share the store.
        sender: Enqueues the messages of those whose turn has come.
        addresses: Where these go.
    """

    def __init__(self, lanes: Lanes, destination: str, sender: Sender, addresses: Addresses) -> None:
        self._lanes = lanes
        self.destination = destination
        self._sender = sender
        self._addresses = addresses
        self._next_sweep = time.monotonic() + _SWEEP_EVERY_SECONDS

    def concerns(self, event: Event) -> bool:
        """Whether the event has a key, and waits in our lanes."""
        return event.ordering_key is not None and event.headers.get(LANE) == self.destination

    def queue_up(self, target: str, key: str, items: Sequence[tuple[str, str]]) -> list[Message]:
        """Let items wait their turn.

        Returns:
            The message that has to be sent, if one of them is at the head.
        """
        head = self._lanes.push(self._lane(target, key), items)
        return [self._addresses.of_item(target, *item) for item in items if item[0] == head]

    @contextmanager
    def turn(self, target: str, key: str, item: str) -> Iterator[bool]:
        """A block that does an item's work; it gets whether it is to do so.

        Raises:
            TryLater: When another worker is at it.
        """
        self._sweep()
        lane, token = self._lane(target, key), str(uuid.uuid4())
        entered = self._lanes.enter(lane, item, token=token, lease=LEASE_SECONDS)
        if isinstance(entered, Busy):
            raise TryLater(min(entered.seconds, LONGEST_PAUSE_SECONDS))
        if entered is GONE:  # done before; whoever did it may have died before the next one was told
            self._send_stalled(older_than=_DIED_IN_BETWEEN_SECONDS, lane=lane)
        if entered is not HEAD:  # the message of one that waits is sent when its turn has come
            yield False
            return
        extend = partial(self._lanes.extend, lane, item, token=token, lease=LEASE_SECONDS)
        try:
            with keeper.keep(extend):
                yield True
        except BaseException:
            self._lanes.release(lane, item, token=token)
            raise
        self._pass_on(target, lane, item, token)

    def give_up(self, target: str, key: str, item: str) -> None:
        """An item is among the dead letters: those behind it go on."""
        with suppress(TryLater), self.turn(target, key, item):  # another worker at it will pass on, too
            pass

    def sweep(self) -> None:
        """Send the messages of heads once more that seem to be lost."""
        # For so long nobody may work at a message that is not lost: it waits for its retry.
        self._send_stalled(older_than=self._addresses.longest_wait + 2 * LEASE_SECONDS)

    def _send_stalled(self, *, older_than: float, lane: str | None = None) -> None:
        for name, item, text in self._lanes.stalled(older_than=older_than, lane=lane):
            destination, target, _ = _split(name)
            if destination == self.destination:
                self._sender.send([self._addresses.of_item(target, item, text)])

    def _sweep(self) -> None:
        now = time.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_EVERY_SECONDS
            self.sweep()

    def _pass_on(self, target: str, lane: str, item: str, token: str) -> None:
        head = self._lanes.leave(lane, item, token=token)
        if head is not None:
            self._sender.send([self._addresses.of_item(target, *head)])

    def _lane(self, target: str, key: str) -> str:
        return f"{self.destination}\n{target}\n{key}"


def _split(lane: str) -> tuple[str, str, str]:
    destination, target, key = lane.split("\n", 2)
    return destination, target, key
