"""A consumer of Dramatiq on Redis that strands no message, and that waits rather than looks."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dramatiq
import redis
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.common import compute_backoff, current_millis
from dramatiq.errors import ConnectionClosed, DecodeError

from fastapi_events.handlers.dramatiq.foreign_messages import fault_of
from fastapi_events.handlers.dramatiq.redis_arrivals import Arrivals, CannotWaitError
from fastapi_events.handlers.dramatiq.redis_stranded import StrandedMessages
from fastapi_events.handlers.task_queue.worker.dead_letters import UNREADABLE

if TYPE_CHECKING:
    from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker

_FULL_PATIENCE = 0.05
"""Seconds after which a consumer takes what little room there is."""

_AGAIN_SECONDS = 0.5
"""How long after a broken connection it looks again; Dramatiq itself makes another consumer after three."""

_SAME_RACE = 0.1
"""Seconds: what comes later is another message."""

_LOSERS_WAIT = 20
"""Milliseconds, at most, for which workers stand back that come too late again and again."""


class SafeConsumer(Consumer):
    """One of Dramatiq's consumers, and an account of the messages that it has handed out.

    Parameters:
        consumer: It looks for messages, and does not wait for any.
        arrivals: What waits for them.
        prefetch: How many messages it may have handed out.
        timeout: Seconds after which it comes back with nothing.
        held: The Redis ids of the queue's messages that are in this process. It outlives the consumer: after
            a broken connection the worker goes on with its messages, and with another consumer.
    """

    def __init__(
        self,
        broker: SafeRedisBroker,
        consumer: Consumer,
        arrivals: Arrivals,
        queue: str,
        *,
        prefetch: int,
        timeout: float,
        held: set[str],
    ) -> None:
        self._broker = broker
        self._consumer = consumer
        self._arrivals = arrivals
        self._queue = queue
        self._prefetch = prefetch
        self._timeout = timeout
        self._held = held
        self._handed_out: set[str] = set()
        self._has_room = threading.Event()
        self._due: list[tuple[float, str]] = []
        """The times of delayed messages, soonest first, with their ids."""
        self._misses = 0
        self._is_cut = False
        self._asked_at = 0.0
        self._stranded = StrandedMessages(broker, queue)
        self._every = broker.heartbeat_timeout / 1000
        self._next_check = 0.0  # a new consumer does not know what became of the last one's messages
        # Workers that have started together need not sweep together.
        self._next_sweep = time.monotonic() + broker.sweeps_every * random.random()  # noqa: S311 - no secret

    def __next__(self) -> MessageProxy | None:
        try:
            message = self._look()
        except ConnectionClosed as error:
            self._wait_for_server(error)
            return None
        if self._is_cut:
            self._is_cut = False
            self._broker.logger.info("The consumer of queue %r reaches Redis again.", self._queue)
        return message

    def _wait_for_server(self, error: ConnectionClosed) -> None:
        """Make that the next look comes soon, and what has left the server and not arrived goes back."""
        self._next_check = 0.0
        if not self._is_cut:
            self._is_cut = True
            self._broker.logger.warning(
                "The consumer of queue %r does not reach Redis, and tries again every %.1f s: %s",
                self._queue, _AGAIN_SECONDS, error,
            )  # fmt: skip
        time.sleep(_AGAIN_SECONDS)

    def _look(self) -> MessageProxy | None:
        self._broker.looked_at[self._queue] = time.monotonic()
        with _connection_errors():
            if self._arrivals.is_asked and not self._have_come():
                self._sweep()
                return None
            try:
                message = next(self._consumer)
            except (DecodeError, TypeError):  # the second for a message id that cannot be put into a set
                self._next_check = 0.0
                return None  # the others of its batch are asked for next
            if message is None:
                self._after_nothing()
                return None
            if fault_of(message, self._queue) is not None:
                self._next_check = 0.0
                self._forget(message)
                return None
        self._misses = 0
        self._hand_out(message)
        return message

    def ack(self, message: MessageProxy) -> None:
        with _connection_errors():
            self._consumer.ack(message)
        self._let_go([message])

    def nack(self, message: MessageProxy) -> None:
        with _connection_errors():
            self._consumer.nack(message)
        self._let_go([message])

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        messages = list(messages)
        with _connection_errors():
            self._consumer.requeue(messages)
        self._let_go(messages)

    def close(self) -> None:
        self._arrivals.close()
        with _connection_errors():
            self._stranded.give_back(but=self._held)  # what it had fetched, and not handed out yet
            self._consumer.close()

    # Messages that are here

    def _hand_out(self, message: MessageProxy) -> None:
        identity = message.options["redis_message_id"]
        self._held.add(identity)
        self._handed_out.add(identity)
        eta = message.options.get("eta")
        if isinstance(eta, (int, float)):
            heapq.heappush(self._due, (eta, identity))

    def _let_go(self, messages: Iterable[MessageProxy]) -> None:
        gone = {message.options["redis_message_id"] for message in messages}
        self._held.difference_update(gone)
        self._handed_out.difference_update(gone)
        if not self._is_crowded():
            self._has_room.set()

    def _is_crowded(self) -> bool:
        """Whether more than half of the room is taken: to fetch them one at a time takes twice as long."""
        return len(self._handed_out) > self._prefetch // 2

    # Waiting

    def _have_come(self) -> bool:
        """Whether to look, since something has come."""
        try:
            return self._arrivals.have_come(within=self._patience())
        except CannotWaitError as error:
            self._broker.look_instead(error)
            return True

    def _after_nothing(self) -> None:
        """Make that the next look finds something, or comes late enough."""
        # Only now is nothing left of the last batch, so that what is not held is stranded.
        if time.monotonic() >= self._next_check:
            self._stranded.give_back(but=self._held)
            self._next_check = time.monotonic() + self._every
        self._sweep()
        if len(self._handed_out) >= self._prefetch:
            self._has_room.clear()
            if self._is_crowded():
                self._has_room.wait(min(self._patience(), _FULL_PATIENCE))
        elif self._broker.can_wait:
            self._stand_back()
            try:
                self._arrivals.ask()
            except CannotWaitError as error:
                self._broker.look_instead(error)
        else:
            self._misses, wait = compute_backoff(self._misses, max_backoff=round(self._timeout * 1000))
            time.sleep(min(wait / 1000, self._patience()))

    def _stand_back(self) -> None:
        """Wait a little where other workers have been faster again and again, rather than race on."""
        now = time.monotonic()
        self._misses = 0 if now - self._asked_at > _SAME_RACE else self._misses + 1
        if self._misses > 1:
            _, wait = compute_backoff(self._misses, factor=1, max_backoff=_LOSERS_WAIT)
            time.sleep(wait / 1000)
        self._asked_at = time.monotonic()

    def _patience(self) -> float:
        """Seconds until the next delayed message is due, and no more than the consumer's timeout."""
        while self._due and self._due[0][1] not in self._handed_out:
            heapq.heappop(self._due)
        if not self._due:
            return self._timeout
        left = (self._due[0][0] - current_millis() + 1) / 1000
        return min(max(left, 0.001), self._timeout)

    def _sweep(self) -> None:
        if time.monotonic() >= self._next_sweep:
            self._broker.sweep(self._queue)
            self._next_sweep = time.monotonic() + self._broker.sweeps_every

    def _forget(self, message: MessageProxy) -> None:
        """Have Dramatiq's consumer no longer count a message that is not handed out, whatever id it names."""
        nobody: dramatiq.Message[Any] = dramatiq.Message(
            queue_name=self._queue,
            actor_name=UNREADABLE,
            args=(),
            kwargs={},
            options={"redis_message_id": ""},
            message_id=message.message_id,
        )
        self._consumer.nack(MessageProxy(nobody))


@contextmanager
def _connection_errors() -> Iterator[None]:
    """Turn errors of Redis and its client into Dramatiq's connection errors, after which it tries again.

    It takes a timeout, or a server out of memory, for a fault of its own: the acknowledgement is given up,
    and a consumer's thread ends for good when it cannot give back its messages.
    """
    try:
        yield
    except redis.RedisError as error:
        raise ConnectionClosed(error) from error
