"""How much waits in Dramatiq's queues."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import dramatiq
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import dq_name, xq_name
from dramatiq.errors import DecodeError

from fastapi_events.handlers.dramatiq import installed_brokers
from fastapi_events.handlers.task_queue.depth import QueueDepth, age_of

if installed_brokers.redis is not None:
    from fastapi_events.handlers.dramatiq.redis_publisher import publishing_client
if installed_brokers.rabbitmq is not None:
    from pika.exceptions import ChannelClosedByBroker

    from fastapi_events.handlers.dramatiq.diagnosis import connect

_NO_SUCH_QUEUE = 404


def depths(broker: dramatiq.Broker, queues: Collection[str], *, timeout: float) -> Sequence[QueueDepth]:
    """How much waits in some queues.

    Parameters:
        timeout: Seconds for each step.

    Raises:
        Exception: What the broker's client raises, when it does not answer.
    """
    if installed_brokers.is_redis(broker):
        return _on_redis(broker, list(queues), timeout=timeout)
    if installed_brokers.is_rabbitmq(broker):
        return _on_rabbitmq(broker, queues, timeout=timeout)
    if isinstance(broker, StubBroker):
        return [_on_stub(broker, each) for each in queues]
    return [QueueDepth(queue=each) for each in queues]


def _on_redis(broker: Any, queues: Sequence[str], *, timeout: float) -> Sequence[QueueDepth]:
    # The lists, hashes and sorted sets that the comments of Dramatiq's own script describe.
    names = [f"{broker.namespace}:{each}" for each in queues]
    client = publishing_client(broker.client, timeout=timeout)
    try:
        counting = client.pipeline(transaction=True)
        for name in names:
            counting.llen(name)
            counting.hlen(f"{name}.msgs")
            counting.hlen(f"{dq_name(name)}.msgs")
            counting.zcard(xq_name(name))
            counting.lindex(name, 0)
        found = counting.execute()
        rows = [found[at : at + 5] for at in range(0, len(found), 5)]
        reading = client.pipeline(transaction=False)
        for name, row in zip(names, rows, strict=True):
            reading.hget(f"{name}.msgs", row[-1] or "")
        bodies = reading.execute()
    finally:
        client.close()
    return [
        QueueDepth(
            queue=queue, ready=ready, in_hand=max(all_ - ready, 0), delayed=delayed, dead=dead,
            oldest=_age_of(body),
        )
        for queue, (ready, all_, delayed, dead, _), body in zip(queues, rows, bodies, strict=True)
    ]  # fmt: skip


def _on_rabbitmq(broker: Any, queues: Collection[str], *, timeout: float) -> Sequence[QueueDepth]:
    connection = connect(broker, timeout=timeout)
    try:
        found = []
        for each in queues:
            ready, consumers = _declared(connection, each)
            delayed, waiters = _declared(connection, dq_name(each))
            dead, _ = _declared(connection, xq_name(each))
            found.append(
                QueueDepth(
                    queue=each, ready=ready, dead=dead, consumers=consumers,
                    # Workers hold delayed messages themselves, and RabbitMQ does not tell how many.
                    delayed=None if waiters else delayed,
                )
            )  # fmt: skip
        return found
    finally:
        connection.close()


def _declared(connection: Any, queue: str) -> tuple[int, int]:
    """How many messages of a queue nobody has taken, and its consumers; nothing where it is not there."""
    channel = connection.channel()
    try:
        found = channel.queue_declare(queue, passive=True).method
    except ChannelClosedByBroker as error:
        if error.reply_code != _NO_SUCH_QUEUE:
            raise
        return 0, 0
    channel.close()
    return found.message_count, found.consumer_count


def _on_stub(broker: StubBroker, queue: str) -> QueueDepth:
    ready = broker.queues.get(queue)
    return QueueDepth(
        queue=queue,
        ready=0 if ready is None else ready.qsize(),
        dead=len(broker.dead_letters_by_queue.get(queue, ())),
    )


def _age_of(body: bytes | None) -> float | None:
    if body is None:
        return None
    try:
        return age_of(dramatiq.Message.decode(body).args)
    except DecodeError:
        return None
