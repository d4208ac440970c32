"""Quorum queues of RabbitMQ, as Celery declares them."""

from __future__ import annotations

from kombu.entity import Exchange, Queue


def quorum_queue(name: str) -> Queue:
    """A quorum queue, on an exchange of a type through which Celery lets messages wait in RabbitMQ itself.

    With other exchanges a worker would hold them, and has no room for others meanwhile: on quorum queues its
    prefetch count cannot grow.
    """
    exchange = Exchange(f"{name}.topic", type="topic")
    return Queue(name, exchange, routing_key=name, queue_arguments={"x-queue-type": "quorum"})
