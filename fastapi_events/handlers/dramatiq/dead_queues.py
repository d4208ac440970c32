"""What Dramatiq keeps in `QUEUE.XQ`, on Redis and on RabbitMQ."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import dramatiq
from dramatiq.common import xq_name
from dramatiq.errors import DecodeError

from fastapi_events.errors import reason_of
from fastapi_events.handlers.dramatiq import installed_brokers
from fastapi_events.handlers.dramatiq.actors import ACTOR
from fastapi_events.handlers.dramatiq.middleware import DEAD
from fastapi_events.handlers.task_queue.dead_queues import (
    DeadQueues,
    NoDeadQueues,
    QueueByQueue,
    QueuedLetter,
    letter_from,
    letter_from_nothing_readable,
)
from fastapi_events.storage.dead_letters import DeadLetter

if installed_brokers.redis is not None:
    from fastapi_events.handlers.dramatiq.redis_publisher import publishing_client
if installed_brokers.rabbitmq is not None:
    from pika.exceptions import ChannelClosedByBroker

    from fastapi_events.handlers.dramatiq.diagnosis import connect

_PAGE = 500
_NO_SUCH_QUEUE = 404


@contextlib.contextmanager
def dead_queues(
    broker: Any, handler: str, queues: Collection[str], *, timeout: float, to_take: bool
) -> Iterator[DeadQueues]:
    """The dead letters of a handler in some queues of a broker.

    Parameters:
        timeout: Seconds for each step.
        to_take: Whether they are to be removed, too.
    """
    if installed_brokers.is_redis(broker):
        client = publishing_client(broker.client, timeout=timeout)
        try:
            yield _OnRedis(broker, handler, queues, client)
        finally:
            client.close()
    elif installed_brokers.is_rabbitmq(broker):
        # What is only looked at goes back; quorum queues count that, and drop what goes back too often.
        quorum: Collection[str] = () if to_take else getattr(broker, "quorum_queues", ())
        connection = connect(broker, timeout=timeout)
        try:
            yield _OnRabbitmq(broker, handler, [each for each in queues if each not in quorum], connection)
        finally:
            connection.close()  # gives back what has not been removed
    else:
        yield NoDeadQueues()


class _OnRedis(QueueByQueue):
    def __init__(self, broker: Any, handler: str, queues: Collection[str], client: Any) -> None:
        super().__init__(handler, queues)
        self._broker = broker
        self._client = client

    def _of_queue(self, queue: str) -> Iterator[QueuedLetter]:
        key = f"{self._broker.namespace}:{xq_name(queue)}"
        ids = self._client.zrange(key, 0, -1)  # at once: what is removed meanwhile moves the others' ranks
        for begin in range(0, len(ids), _PAGE):
            yield from self._page(queue, key, ids[begin : begin + _PAGE])

    def _page(self, queue: str, key: str, ids: Sequence[bytes]) -> Iterator[QueuedLetter]:
        bodies = self._client.hmget(f"{key}.msgs", ids)
        for identity, body in zip(ids, bodies, strict=True):
            letter = None if body is None else _letter(self._broker, self._handler, queue, body)
            if letter is not None:
                yield QueuedLetter(letter, (key, identity))

    def remove(self, queued: QueuedLetter) -> None:
        key, identity = queued.place
        pipeline = self._client.pipeline(transaction=True)
        pipeline.zrem(key, identity)
        pipeline.hdel(f"{key}.msgs", identity)
        pipeline.execute()


class _OnRabbitmq(QueueByQueue):
    def __init__(self, broker: Any, handler: str, queues: Collection[str], connection: Any) -> None:
        super().__init__(handler, queues)
        self._broker = broker
        self._connection = connection

    def _of_queue(self, queue: str) -> Iterator[QueuedLetter]:
        channel = self._connection.channel()
        while True:
            try:
                method, _, body = channel.basic_get(xq_name(queue))
            except ChannelClosedByBroker as error:
                if error.reply_code != _NO_SUCH_QUEUE:
                    raise
                return
            if method is None:
                return
            letter = _letter(self._broker, self._handler, queue, body)
            if letter is not None:
                yield QueuedLetter(letter, (channel, method.delivery_tag))

    def remove(self, queued: QueuedLetter) -> None:
        channel, tag = queued.place
        channel.basic_ack(tag)


def _letter(broker: Any, handler: str, queue: str, body: bytes) -> DeadLetter | None:
    """The letter that a rejected message stands for; None where it is not the handler's."""
    try:
        message: dramatiq.Message[Any] = dramatiq.Message.decode(body)
        report = message.options.get(DEAD)
    except (DecodeError, AttributeError) as error:
        return letter_from_nothing_readable(handler, queue, body, reason_of(error))
    declared = broker.actors.get(message.actor_name)
    if report is None and (declared is None or ACTOR not in declared.options):
        return None  # an actor of the application's own, whose dead letters are for it to look after
    return letter_from(
        handler, queue, message.actor_name, message.message_id, message.args, message.kwargs, report
    )
