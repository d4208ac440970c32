"""Whose turn it is: `once=True` runs a subscription once an event, an ordering key lets one after the other.

An event with an ordering key waits in lanes: first in one for its fan-out, then in one for each
subscription. Only the message of a lane's head is in the broker. Whoever has done with the head leaves the
lane and then sends the message of the next. Should it die in between, its own message is delivered again,
finds that its item is gone, and sends the next one's message instead.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import LANE, Outgoing, TryLater, message_id
from fastapi_events.leases import LEASE_SECONDS, keeper
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.storage.base import DONE, GONE, HEAD, Busy
from fastapi_events.storage.inbox import Inbox
from fastapi_events.storage.lanes import Lanes

KEEP_SECONDS = 7 * 86_400.0
"""How long it is remembered that a subscription has completed an event."""

FAN_OUT_TURN = "fan-out"
"""What an event waits for before it waits for subscriptions."""

_DIED_IN_BETWEEN_SECONDS = 10.0
"""How long a lane may stand still until another delivery of an item that is done moves it on."""

_SWEEP_EVERY_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 5.0


@dataclass(slots=True)
class Claim:
    """A subscription's turn at an event, with `once=True`.

    Parameters:
        inbox: Where it is recorded.
        key: Names the work.
        token: This attempt's token.
        recorded: Whether the function's own transaction has recorded the completion.
    """

    inbox: Inbox
    key: str
    token: str
    recorded: bool = False


current_claim: ContextVar[Claim | None] = ContextVar("fastapi_events_claim", default=None)
"""The claim under which the surrounding function runs, for `commit.complete_in`."""


class Once:
    """Runs what has not been completed before.

    Parameters:
        inbox: Where completions are recorded.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    @contextmanager
    def claim(self, subscription: str, event: Event) -> Iterator[bool]:
        """A block that runs the subscription; it gets whether it is to do so.

        Raises:
            TryLater: When another worker is at it.
        """
        claim = Claim(self._inbox, message_id(event.id, subscription), str(uuid.uuid4()))
        begun = self._inbox.begin(claim.key, token=claim.token, lease=LEASE_SECONDS)
        if isinstance(begun, Busy):
            raise TryLater(min(begun.seconds, _LONGEST_PAUSE_SECONDS))
        if begun is DONE:
            tell(Lifecycle.skipped, event, subscription=subscription)
            yield False
            return
        token = current_claim.set(claim)
        extend = partial(self._inbox.extend, claim.key, token=claim.token, lease=LEASE_SECONDS)
        try:
            with keeper.keep(extend):
                yield True
        except BaseException:
            self._inbox.release(claim.key, token=claim.token)
            raise
        finally:
            current_claim.reset(token)
        if not claim.recorded:
            self._inbox.complete(claim.key, token=claim.token, keep=KEEP_SECONDS)


class Order:
    """Lets events with the same ordering key pass one after the other.

    Parameters:
        lanes: Where they wait.
        destination: The handler's name, so that several may share the store.
        send: Enqueues messages.
        message: Makes the message of a lane's item: the name of what it is for, its id and its text.
        stalled_after: Seconds after which the head of a lane that nobody works at is sent again.
    """

    def __init__(
        self,
        lanes: Lanes,
        destination: str,
        send: Callable[[Sequence[Outgoing]], None],
        message: Callable[[str, str, str], Outgoing],
        *,
        stalled_after: Callable[[], float],
    ) -> None:
        self._lanes = lanes
        self.destination = destination
        self._send = send
        self._message = message
        self._stalled_after = stalled_after
        self._next_sweep = time.monotonic() + _SWEEP_EVERY_SECONDS

    def concerns(self, event: Event) -> bool:
        """Whether the event has a key, and waits in our lanes."""
        return event.ordering_key is not None and event.headers.get(LANE) == self.destination

    def queue_up(self, target: str, key: str, items: Sequence[tuple[str, str]]) -> list[Outgoing]:
        """Let items wait their turn.

        Returns:
            The message that has to be sent, if one of them is at the head.
        """
        head = self._lanes.push(self._lane(target, key), items)
        return [self._message(target, *item) for item in items if item[0] == head]

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
            raise TryLater(min(entered.seconds, _LONGEST_PAUSE_SECONDS))
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
        self._send_stalled(older_than=self._stalled_after())

    def _send_stalled(self, *, older_than: float, lane: str | None = None) -> None:
        for name, item, text in self._lanes.stalled(older_than=older_than, lane=lane):
            destination, target, _ = _split(name)
            if destination == self.destination:
                self._send([self._message(target, item, text)])

    def _sweep(self) -> None:
        now = time.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_EVERY_SECONDS
            self.sweep()

    def _pass_on(self, target: str, lane: str, item: str, token: str) -> None:
        head = self._lanes.leave(lane, item, token=token)
        if head is not None:
            self._send([self._message(target, *head)])

    def _lane(self, target: str, key: str) -> str:
        return f"{self.destination}\n{target}\n{key}"


def _split(lane: str) -> tuple[str, str, str]:
    destination, target, key = lane.split("\n", 2)
    return destination, target, key


def check_once(inbox: Inbox | None, *, asking: str) -> None:
    """Refuse `once=True` where nothing can be remembered.

    Raises:
        ConfigurationError: When there is no inbox.
    """
    if inbox is None:
        raise ConfigurationError(
            f"{asking}: once=True needs an inbox, which remembers events; pass inbox= to the handler."
        )
