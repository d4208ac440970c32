"""Dramatiq messages into RabbitMQ, any number of them with one wait for their confirms.

Dramatiq's own `enqueue` waits for the confirm of each message, or for none and never learns what became of
it. The messages are those that its RabbitMQ broker would publish.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import dramatiq
import pika.exceptions
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.common import current_millis, dq_name, q_name

from fastapi_events.errors import NotPublished
from fastapi_events.handlers.brokers.connection_pool import Keep, listed
from fastapi_events.handlers.dramatiq.enqueueing import EnqueueHooks, encoder
from fastapi_events.handlers.dramatiq.rabbitmq_connection import ConfirmingConnection, Publication

_WORKER_SECONDS = 5.0
"""How long a worker waits for the confirms, before it tries again."""


class RabbitmqPublisher:
    """Publishes to a broker's server, with connections of its own whose every step is bounded.

    Parameters:
        broker: Its own connections are asked only to declare queues that do not exist yet.
    """

    def __init__(self, broker: RabbitmqBroker) -> None:
        self._broker = broker
        self._hooks = EnqueueHooks(broker)
        self._connections: Keep[ConfirmingConnection] = Keep()

    def publish(
        self, messages: Sequence[tuple[dramatiq.Message[Any], int | None]], *, timeout: float | None
    ) -> None:
        """Publish messages, each with its delay in milliseconds, and wait until all of them are confirmed.

        Parameters:
            timeout: Seconds for all of it, connecting included; a worker's if not given.

        Raises:
            NotPublished: When RabbitMQ refused some, or no queue takes them; it names the queues.
            TimeoutError: When it did not confirm them in time.
            pika.exceptions.AMQPError: When the connection or the channel failed.
        """
        deadline = time.monotonic() + (_WORKER_SECONDS if timeout is None else timeout)
        copies = [(_due(message, delay), delay) for message, delay in messages]
        for queue in {message.queue_name for message, _ in copies}:
            self._broker.declare_queue(q_name(queue))
        self._hooks.before(copies)
        encode = encoder()
        waiting = [
            Publication(message.queue_name, encode(message), message.options.get("broker_priority"))
            for message, _ in copies
        ]
        with self._connections.lent() as own:
            waiting = self._publish_or_reconnect(own, waiting, deadline)
            if waiting:
                # Dramatiq declares queues when it first uses them; RabbitMQ says when that was never, or when
                # they have been deleted since.
                self._declare([each.queue for each in waiting])
                waiting = self._publish(own, waiting, deadline)
        if waiting:
            raise NotPublished(f"RabbitMQ has no queue {listed(each.queue for each in waiting)}")
        self._hooks.after(copies)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._connections.close()

    def _publish_or_reconnect(
        self, own: list[ConfirmingConnection], waiting: Sequence[Publication], deadline: float
    ) -> list[Publication]:
        fresh = not own
        try:
            return self._publish(own, waiting, deadline)
        except pika.exceptions.AMQPConnectionError:
            if fresh:
                raise
            # The server has closed the connection since, as servers do with idle ones; a new one does.
            return self._publish(own, [each for each in waiting if not each.confirmed], deadline)

    def _publish(
        self, own: list[ConfirmingConnection], waiting: Sequence[Publication], deadline: float
    ) -> list[Publication]:
        """Publish what waits; return what came back because its queue does not exist."""
        if not own:
            own.append(ConfirmingConnection(self._broker.parameters, deadline))
        try:
            own[0].publish(waiting, deadline)
        except TimeoutError:
            own.pop().hang_up()
            raise
        except BaseException:
            own.pop().close()
            raise
        return [each for each in waiting if each.returned]

    def _declare(self, queues: Sequence[str]) -> None:
        broker = self._broker
        try:
            for queue in sorted({q_name(each) for each in queues}):
                broker.queues_pending.add(queue)
                broker.declare_queue(queue, ensure=True)
        finally:
            # Idle from now on: no thread answers the server's heartbeats.
            del broker.connection


def _due(message: dramatiq.Message[Any], delay: int | None) -> dramatiq.Message[Any]:
    """The message that Dramatiq's own `enqueue` would publish; a delayed one waits beside its queue."""
    if delay is None:
        return message
    return message.copy(queue_name=dq_name(message.queue_name), options={"eta": current_millis() + delay})
