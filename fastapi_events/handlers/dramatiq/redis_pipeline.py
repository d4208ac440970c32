"""Dramatiq messages into Redis, many in one round trip.

Dramatiq's own `enqueue` makes one round trip a message. The layout below is that of its Redis broker, where
it is documented: a list of message ids for each queue, beside a hash of message id to message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def publishing_client(client: redis.Redis, *, timeout: float) -> redis.Redis:
    """A client for the same server whose every step is bounded, whatever the original one allows itself.

    Parameters:
        timeout: Seconds to connect, and to wait for an answer.
    """
    pool = client.connection_pool
    # The handler belongs to the pool that made it; the new pool makes its own.
    settings = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if name not in ("maint_notifications_pool_handler", "himport_registry")
    }
    settings.update(
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        retry_on_timeout=False,
    )
    return redis.Redis(connection_pool=type(pool)(connection_class=pool.connection_class, **settings))


def enqueue(client: redis.Redis, namespace: str, queues: Mapping[str, Sequence[tuple[str, bytes]]]) -> None:
    """Put messages into queues: all or none of them, in one round trip.

    Parameters:
        queues: For each queue its messages in order, as id and encoded message.

    Raises:
        redis.RedisError: When the server did not confirm it.
    """
    try:
        _enqueue(client, namespace, queues)
    except redis.ConnectionError:
        # Most often a pooled connection that the server has closed since; a new one does. Should the first
        # attempt have arrived, the ids are the same and the message is stored once.
        _enqueue(client, namespace, queues)


def _enqueue(client: redis.Redis, namespace: str, queues: Mapping[str, Sequence[tuple[str, bytes]]]) -> None:
    pipeline: Any = client.pipeline(transaction=True)
    for queue, messages in queues.items():
        key = f"{namespace}:{queue}"
        pipeline.hset(f"{key}.msgs", mapping=dict(messages))
        pipeline.rpush(key, *(message_id for message_id, _ in messages))
    pipeline.execute()
