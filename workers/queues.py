"""What the queues of each engine are called."""

from __future__ import annotations


def own_queue(url: str, queue: str) -> str:
    """The queue of a name for Celery: on RabbitMQ, unlike Redis, the engines would share the name."""
    return f"{queue}.celery" if url.startswith("amqp") else queue
