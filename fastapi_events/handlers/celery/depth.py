"""How much waits in the queues of a Celery app."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import ModuleType
from typing import Any

from celery import Celery

from fastapi_events import clock
from fastapi_events.errors import MissingDependencyError
from fastapi_events.handlers.celery.alternatives import connected
from fastapi_events.handlers.task_queue.depth import QueueDepth, age_of

_redis: ModuleType | None
try:
    from fastapi_events.storage import redis as _redis
except MissingDependencyError:  # the broker is another one
    _redis = None

_PAGE = 500
_NO_SUCH_QUEUE = "404"


def dead_queue(queue: str) -> str:
    """The queue that keeps what was given up of another; no worker consumes it."""
    return f"{queue}.dead"


def depths(app: Celery, queues: Collection[str], *, timeout: float) -> Sequence[QueueDepth]:
    """How much waits in some queues.

    Parameters:
        timeout: Seconds for each step, and for going through what workers hold.

    Raises:
        Exception: What the broker's client raises, when it does not answer.
    """
    with connected(app, timeout=timeout) as connection:
        if is_redis(connection):
            return _on_redis(connection.default_channel, queues, timeout=timeout)
        return [_depth(connection, each) for each in queues]


def _depth(connection: Any, queue: str) -> QueueDepth:
    """What other brokers tell: how many messages nobody has taken, and RabbitMQ how many consume it."""
    ready, consumers = _declared(connection, queue)
    dead, _ = _declared(connection, dead_queue(queue))
    knows_consumers = connection.transport.driver_type == "amqp"
    return QueueDepth(queue=queue, ready=ready, dead=dead, consumers=consumers if knows_consumers else None)


def _declared(connection: Any, queue: str) -> tuple[int, int]:
    """How many messages of a queue nobody has taken, and its consumers; nothing where it is not there."""
    channel = connection.channel()
    try:
        found = channel.queue_declare(queue, passive=True)
    except connection.channel_errors as error:  # RabbitMQ has closed the channel
        if str(getattr(error, "reply_code", "")) != _NO_SUCH_QUEUE:
            raise
        return 0, 0
    channel.close()
    return found.message_count, found.consumer_count


def _on_redis(channel: Any, queues: Collection[str], *, timeout: float) -> Sequence[QueueDepth]:
    client = client_of(channel)
    held = _held(client, channel, deadline=time.monotonic() + timeout)
    found = []
    for queue in queues:
        reading = client.pipeline(transaction=True)
        lists = [*lists_of(channel, queue), *lists_of(channel, dead_queue(queue))]
        for name in lists:
            reading.llen(name)
        for name in lists:
            reading.lindex(name, -1)
        answers = reading.execute()
        half = len(lists) // 2
        found.append(
            QueueDepth(
                queue=queue, ready=sum(answers[:half]), dead=sum(answers[half : 2 * half]),
                in_hand=None if held is None else held["in hand", queue],
                delayed=None if held is None else held["delayed", queue],
                oldest=_oldest(answers[2 * half : 3 * half]),
            )
        )  # fmt: skip
    return found


def is_redis(connection: Any) -> bool:
    """Whether a connection is to Redis, and its client is there."""
    return bool(connection.transport.driver_type == "redis") and _redis is not None


def client_of(channel: Any) -> Any:
    """A client of the server that a channel speaks to, which takes keys as they are."""
    assert _redis is not None  # noqa: S101 - else kombu has no such channel
    # A channel's own client puts the prefix before the keys of some commands, and not of others.
    return _redis.redis.Redis(connection_pool=channel.pool)


def lists_of(channel: Any, queue: str) -> list[str]:
    """The keys of the lists of a queue, one for each priority."""
    names = (f"{queue}{channel.sep}{step}" if step else queue for step in channel.priority_steps)
    return [channel.global_keyprefix + each for each in names]


def _held(client: Any, channel: Any, *, deadline: float) -> Counter[tuple[str, str]] | None:
    """Count what workers have taken, by queue: what is in hand, and what waits there for its time.

    Redis keeps it for all queues together, and has to be gone through.

    Returns:
        None where that takes too long.
    """
    found: Counter[tuple[str, str]] = Counter()
    key, cursor, now = channel.global_keyprefix + channel.unacked_key, 0, clock.timestamp()
    while True:
        cursor, page = client.hscan(key, cursor, count=_PAGE)
        for text in page.values():
            message, _, queue = json.loads(text)
            due = due_of(message)
            found["delayed" if due is not None and due > now else "in hand", queue] += 1
        if cursor == 0:
            return found
        if time.monotonic() > deadline:
            return None


def _oldest(messages: Sequence[bytes | str | None]) -> float | None:
    """The age of the oldest of some messages."""
    ages = [_age_of(each) for each in messages if each is not None]
    return max((each for each in ages if each is not None), default=None)


def _age_of(text: bytes | str) -> float | None:
    try:
        message = json.loads(text)
        return age_of(json.loads(base64.b64decode(message["body"]))[0])
    except (ValueError, KeyError, TypeError, IndexError):  # of another program, in a form of its own
        return None


def due_of(message: Mapping[str, Any]) -> float | None:
    """When a message may be received, in seconds since 1970; None where it may at once."""
    due = message.get("headers", {}).get("eta")
    return None if due is None else datetime.fromisoformat(due).timestamp()
