"""Dramatiq's Redis broker, with consumers that strand no message."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.common import current_millis, dq_name, q_name
from dramatiq.errors import ConnectionClosed, DecodeError

from fastapi_events.errors import MissingDependencyError
from fastapi_events.handlers.dramatiq.foreign_messages import (
    fault_in,
    fault_of,
    letter_of,
    substitute,
    worker_of,
)
from fastapi_events.handlers.task_queue.worker.dead_letters import UNREADABLE
from fastapi_events.lifecycle import Lifecycle, tell

try:
    import redis
    from dramatiq.brokers.redis import RedisBroker
except ImportError as _missing:
    raise MissingDependencyError("redis", "dramatiq") from _missing

# Takes away what this worker holds; into Dramatiq's dead letters, if there is a substitute that can be read.
_MOVE_TO_DEAD = """
if redis.call("srem", KEYS[1], ARGV[1]) == 0 then
    return 0
end
redis.call("hdel", KEYS[2], ARGV[1])
if ARGV[3] == "" then
    return 1
end
redis.call("zadd", KEYS[3], ARGV[2], ARGV[1])
redis.call("hset", KEYS[4], ARGV[1], ARGV[3])
return 1
"""


class SafeRedisBroker(RedisBroker):
    """Dramatiq's Redis broker, of which a worker loses sight of no message.

    Takes the same parameters, uses the same keys, and may share a Redis with Dramatiq's own. What differs is
    how its workers consume:

    - A message that cannot be read is moved to the dead letters of the handler whose queue it is, or else to
      Dramatiq's, with the reason, and the others go on.
      Dramatiq's consumer starts over, and strands what it had fetched in one go with that message
      (https://github.com/Bogdanp/dramatiq/pull/375).
    - Messages that the server has handed out, but that never arrived or were dropped when the connection
      broke, go back into their queue. Dramatiq leaves them until the worker ends, delayed ones included.
    - An acknowledgement that times out is repeated, like one whose connection is lost.

    Parameters:
        heartbeat_timeout: Milliseconds after which a silent worker counts as dead; Dramatiq's own is 60,000.
        maintenance_chance: How often, in a million looks into a queue, a worker takes back what dead ones
            held; Dramatiq's own is 1,000, which on a quiet queue takes a quarter of an hour.
        settings: The other parameters of Dramatiq's `RedisBroker`.
    """

    def __init__(
        self, *, heartbeat_timeout: int = 15_000, maintenance_chance: int = 300_000, **settings: Any
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            heartbeat_timeout=heartbeat_timeout, maintenance_chance=maintenance_chance, **settings
        )
        self._held: dict[str, set[str]] = defaultdict(set)
        self._move_to_dead = self.client.register_script(_MOVE_TO_DEAD)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Create a consumer; see Dramatiq's own."""
        if queue_name == dq_name(queue_name):
            # Only the consumer's thread holds delayed messages, and has given up those of its last consumer.
            self._held[queue_name].clear()
        consumer = super().consume(queue_name, prefetch, timeout)
        return _SafeConsumer(self, consumer, queue_name, self._held[queue_name], self._move_to_dead)


class _SafeConsumer(Consumer):
    """One of Dramatiq's consumers, and an account of the messages that it has handed out.

    Parameters:
        held: The Redis ids of the queue's messages that are in this process. It outlives the consumer: after
            a broken connection the worker goes on with its messages, and with another consumer.
    """

    def __init__(
        self,
        broker: SafeRedisBroker,
        consumer: Consumer,
        queue: str,
        held: set[str],
        move_to_dead: Any,
    ) -> None:
        self._broker = broker
        self._consumer = consumer
        self._queue = queue
        self._held = held
        self._move_to_dead = move_to_dead
        self._every = broker.heartbeat_timeout / 1000
        self._next_check = 0.0  # a new consumer does not know what became of the last one's messages
        key = f"{broker.namespace}:{queue}"
        self._acks = f"{broker.namespace}:__acks__.{broker.broker_id}.{queue}"
        self._bodies = f"{key}.msgs"
        self._dead = f"{broker.namespace}:{q_name(queue)}.XQ"

    def __next__(self) -> MessageProxy | None:
        with _connection_errors():
            try:
                message = next(self._consumer)
            except (DecodeError, TypeError):  # the second for a message id that cannot be put into a set
                self._next_check = 0.0
                return None  # the others of its batch are asked for next
            if message is None:
                # Only then is nothing left of the last batch, so that what is not held is stranded.
                if time.monotonic() >= self._next_check:
                    self._reclaim()
                return None
            if fault_of(message, self._queue) is not None:
                self._next_check = 0.0
                self._forget(message)
                return None
        self._held.add(message.options["redis_message_id"])
        return message

    def ack(self, message: MessageProxy) -> None:
        with _connection_errors():
            self._consumer.ack(message)
        self._held.discard(message.options["redis_message_id"])

    def nack(self, message: MessageProxy) -> None:
        with _connection_errors():
            self._consumer.nack(message)
        self._held.discard(message.options["redis_message_id"])

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        messages = list(messages)
        with _connection_errors():
            self._consumer.requeue(messages)
        self._held.difference_update(message.options["redis_message_id"] for message in messages)

    def close(self) -> None:
        with _connection_errors():
            self._reclaim()  # what it had fetched, and not handed out yet
            self._consumer.close()

    def _reclaim(self) -> None:
        """Find messages that Redis believes to be here and that are not, and put them where they belong."""
        held = self._held.copy()  # before Redis is asked: from here on it can only shrink
        stranded = [
            identity
            for identity in map(_text, self._broker.client.smembers(self._acks))
            if identity not in held
        ]
        if stranded:
            bodies = self._broker.client.hmget(self._bodies, stranded)
            readable = [
                identity
                for identity, body in zip(stranded, bodies, strict=True)
                if body is None or not self._give_up_if_unreadable(identity, body)
            ]
            if readable:
                self._broker.logger.warning(
                    "%d messages of queue %r were given to this worker and did not arrive: enqueued again.",
                    len(readable), self._queue,
                )  # fmt: skip
                self._broker.do_requeue(self._queue, *readable)
        self._next_check = time.monotonic() + self._every

    def _give_up_if_unreadable(self, identity: str, body: bytes) -> bool:
        fault = fault_in(body, self._queue, identity)
        if fault is None:
            return False
        queue = q_name(self._queue)
        worker = worker_of(self._broker, queue)
        letter = letter_of(worker, body, queue, identity, fault)
        stored = worker is not None and worker.dead_letters.is_stored(letter)
        instead = b"" if stored else substitute(letter, identity).encode()
        keys = [self._acks, self._bodies, self._dead, f"{self._dead}.msgs"]
        if self._move_to_dead(keys=keys, args=[identity, current_millis(), instead]):
            tell(Lifecycle.dead, None, subscription=UNREADABLE, reason=letter.reason, attempts=0)
        return True

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


def _text(identity: bytes | str) -> str:
    return identity.decode() if isinstance(identity, bytes) else identity


@contextmanager
def _connection_errors() -> Iterator[None]:
    """Whatever Redis or its client has to say is a connection error to Dramatiq, which then tries again.

    It takes a timeout, or a server out of memory, for a fault of its own: the acknowledgement is given up,
    and a consumer's thread ends for good when it cannot give back its messages.
    """
    try:
        yield
    except redis.RedisError as error:
        raise ConnectionClosed(error) from error
