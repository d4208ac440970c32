"""Dramatiq messages into Redis, many in one round trip.

Dramatiq's own `enqueue` makes one round trip a message. The layout below is that of its Redis broker, where
it is documented: a list of message ids for each queue, beside a hash of message id to message.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import current_millis, dq_name
from redis.backoff import NoBackoff
from redis.retry import Retry

from fastapi_events.errors import ConfigurationError
from fastapi_events.green_threads import real_thread
from fastapi_events.handlers.dramatiq.enqueueing import EnqueueHooks, encoder, has_own_encoder
from fastapi_events.handlers.dramatiq.redis_loop_connection import LoopConnection
from fastapi_events.ids import random_id
from fastapi_events.storage.redis.clients import client_like


class RedisPublisher:
    """Publishes to a broker's server; for the web process with a client of its own, which is bounded."""

    def __init__(self, broker: RedisBroker) -> None:
        self._broker: Any = broker
        self._clients: dict[int, redis.Redis] = {}
        """One, and among green threads one for each real thread: their sockets cannot be shared."""
        self._loop_connection: LoopConnection | None = None
        self._hooks = EnqueueHooks(broker)
        self._unconfirmed: dict[str, str] = {}
        """Messages last sent from an event loop, and their ids in Redis, as long as they may have arrived."""

    def sends_on_loop(self) -> bool:
        """Whether `publish_on_loop` may be asked just now.

        What a program adds to enqueueing or encoding may take its time; then only a thread will do.
        """
        return (
            self._loop_connection is not None
            and self._loop_connection.is_free
            and not has_own_encoder()
            and not self._hooks.are_heard()
        )

    async def publish_on_loop(self, messages: Sequence[tuple[dramatiq.Message[Any], int | None]]) -> bool:
        """Publish messages from the running event loop.

        Parameters:
            messages: As for `publish`.

        Returns:
            Whether the server has confirmed them; if not, `publish` can say why.
        """
        assert self._loop_connection is not None  # noqa: S101 - `sends_on_loop` has said so
        sent = [(_for_redis(each, delay, random_id()), delay) for each, delay in messages]
        self._unconfirmed = {each.message_id: each.options["redis_message_id"] for each, _ in sent}
        return await self._loop_connection.execute(_commands(self._broker.namespace, _queues(sent)))

    def publish(
        self, messages: Sequence[tuple[dramatiq.Message[Any], int | None]], *, timeout: float | None
    ) -> None:
        """Publish messages, each with its delay in milliseconds: all or none of them.

        Parameters:
            messages: Sent by nobody else, since they get the options that Dramatiq's `enqueue` would add.
            timeout: Seconds for each step; those that the broker's own client allows itself if not given.

        Raises:
            redis.RedisError: When the server did not confirm it.
        """
        broker = self._broker
        # Under the same id, what has arrived after all is stored once.
        known = self._unconfirmed
        messages = [
            (_for_redis(message, delay, known.pop(message.message_id, "") or random_id()), delay)
            for message, delay in messages
        ]
        self._hooks.before(messages)
        queues = _queues(messages)
        client = broker.client if timeout is None else self.prepare(timeout=timeout)
        enqueue(client, broker.namespace, queues)
        self._hooks.after(messages)

    def prepare(self, *, timeout: float) -> redis.Redis:
        """Make the client of the process that publishes; it connects once it is needed.

        Parameters:
            timeout: Seconds for each of its steps.

        Returns:
            The one that this thread may use.

        Raises:
            ConfigurationError: When there can be none beside the broker's own.
        """
        thread = real_thread()
        client = self._clients.get(thread)
        if client is None:
            client = self._clients[thread] = publishing_client(self._broker.client, timeout=timeout)
            if self._loop_connection is None:
                self._loop_connection = LoopConnection.like(client.connection_pool)
        return client

    async def close_on_loop(self) -> None:
        """Close what `publish_on_loop` has opened on the running loop."""
        if self._loop_connection is not None:
            await self._loop_connection.close()

    def close(self) -> None:
        """Close the web process's client; the next flush opens another."""
        client = self._clients.pop(real_thread(), None)
        if client is not None:
            client.close()


def publishing_client(client: redis.Redis, *, timeout: float) -> redis.Redis:
    """A client for the same server whose every step is bounded, whatever the original one allows itself.

    Parameters:
        timeout: Seconds to connect, and to wait for an answer.

    Raises:
        ConfigurationError: When its pool is of a kind that cannot be made once more.
    """
    try:
        return client_like(
            client,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            retry_on_timeout=False,
        )
    except TypeError as error:
        raise ConfigurationError(
            f"No pool can be made that is like the {type(client.connection_pool).__name__} of the broker's "
            f"client ({error}), and publishing needs one of its own; give the broker a client with a "
            "ConnectionPool or a SentinelConnectionPool."
        ) from error


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
    for command in _commands(namespace, queues):
        pipeline.execute_command(*command)
    pipeline.execute()


def _commands(
    namespace: str, queues: Mapping[str, Sequence[tuple[str, bytes]]]
) -> list[tuple[str | bytes, ...]]:
    commands: list[tuple[str | bytes, ...]] = []
    for queue, messages in queues.items():
        key = f"{namespace}:{queue}"
        fields = [each for message in messages for each in message]
        commands.append(("HSET", f"{key}.msgs", *fields))
        commands.append(("RPUSH", key, *(message_id for message_id, _ in messages)))
    return commands


def _queues(
    messages: Iterable[tuple[dramatiq.Message[Any], int | None]],
) -> dict[str, list[tuple[str, bytes]]]:
    queues: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
    encode = encoder()
    for message, _ in messages:
        queues[message.queue_name].append((message.options["redis_message_id"], encode(message)))
    return queues


def _for_redis(
    message: dramatiq.Message[Any], delay: int | None, redis_message_id: str
) -> dramatiq.Message[Any]:
    """The message as Dramatiq's own `enqueue` would store it, with an id of its own in Redis.

    Parameters:
        delay: Milliseconds; such a message waits in a queue beside its own.
    """
    message.options["redis_message_id"] = redis_message_id
    if delay is None:
        return message
    return message.copy(queue_name=dq_name(message.queue_name), options={"eta": current_millis() + delay})
