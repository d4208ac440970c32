"""Quorum queues: RabbitMQ keeps them on several nodes, and loses none of their messages with one of these."""

from __future__ import annotations

from typing import Any

from fastapi_events.errors import MissingDependencyError

try:
    from dramatiq.brokers.rabbitmq import RabbitmqBroker
except ImportError as _missing:
    raise MissingDependencyError("pika", "rabbitmq") from _missing

import pika.exceptions
from dramatiq.common import dq_name, q_name, xq_name
from dramatiq.errors import ConnectionClosed

_DEAD_MESSAGE_TTL = 7 * 86_400 * 1000


class QuorumBroker(RabbitmqBroker):
    """Dramatiq's RabbitMQ broker, which declares the queues of `quorum_queues` as quorum queues.

    `DramatiqHandler(broker, queue_type="quorum")` puts its own there. Other queues are declared as ever:
    RabbitMQ cannot change the type of a queue that exists.

    Parameters:
        dead_message_ttl: Milliseconds for which such a queue's dead letters are kept.
        settings: See `dramatiq.brokers.rabbitmq.RabbitmqBroker`.
    """

    def __init__(self, *, dead_message_ttl: int = _DEAD_MESSAGE_TTL, **settings: Any) -> None:
        super().__init__(**settings)
        self.dead_message_ttl = dead_message_ttl
        self.quorum_queues: set[str] = set()

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        queue = q_name(queue_name)
        if queue not in self.quorum_queues:
            super().declare_queue(queue_name, ensure=ensure)
            return
        super().declare_queue(queue_name)
        if ensure and queue in self.queues_pending:
            try:
                self._declare_quorum(queue)
            except (pika.exceptions.AMQPConnectionError, pika.exceptions.AMQPChannelError) as error:
                # RabbitMQ closes what it has refused something on; and a connection that was closed while
                # nobody used it is noticed here.
                del self.connection
                if isinstance(error, pika.exceptions.ChannelClosedByBroker):
                    raise ConnectionClosed(error) from None
                try:
                    self._declare_quorum(queue)
                except (pika.exceptions.AMQPConnectionError, pika.exceptions.AMQPChannelError) as again:
                    del self.connection
                    raise ConnectionClosed(again) from None
            self.queues_pending.discard(queue)

    def get_queue_message_counts(self, queue_name: str) -> tuple[int, int, int]:
        if queue_name not in self.quorum_queues:
            return super().get_queue_message_counts(queue_name)
        self.declare_queue(queue_name, ensure=True)
        waiting, delayed, dead = (
            self.channel.queue_declare(queue=name, passive=True).method.message_count
            for name in (queue_name, dq_name(queue_name), xq_name(queue_name))
        )
        return waiting, delayed, dead

    def _declare_quorum(self, queue: str) -> None:
        living = {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": xq_name(queue),
        }
        dead = {"x-queue-type": "quorum", "x-message-ttl": self.dead_message_ttl}
        for name, arguments in ((queue, living), (dq_name(queue), living), (xq_name(queue), dead)):
            self.channel.queue_declare(queue=name, durable=True, arguments=arguments)
