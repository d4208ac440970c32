"""What we keep in `QUEUE.dead` of a Celery app, which itself keeps nothing."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from celery import Celery

from fastapi_events.handlers.celery.alternatives import connected
from fastapi_events.handlers.celery.depth import client_of, dead_queue, is_redis, lists_of
from fastapi_events.handlers.celery.foreign_messages import arguments_of
from fastapi_events.handlers.task_queue.dead_queues import (
    DeadQueues,
    QueueByQueue,
    QueuedLetter,
    letter_from,
    letter_from_nothing_readable,
)
from fastapi_events.storage.dead_letters import DeadLetter

DEAD = "fastapi_events_dead"
"""The message header that says why a message was given up."""

_PAGE = 500
_NO_SUCH_QUEUE = "404"


@contextlib.contextmanager
def dead_queues(
    app: Celery, handler: str, queues: Collection[str], *, timeout: float
) -> Iterator[DeadQueues]:
    """The dead letters of a handler beside some queues of an app.

    Parameters:
        timeout: Seconds for each step.
    """
    with connected(app, timeout=timeout) as connection:
        if is_redis(connection):
            yield _OnRedis(handler, queues, connection.default_channel)
        else:
            yield _OnOthers(handler, queues, connection)


class _OnRedis(QueueByQueue):
    """Lists, whose messages stand there as kombu writes them."""

    def __init__(self, handler: str, queues: Collection[str], channel: Any) -> None:
        super().__init__(handler, queues)
        self._channel = channel
        self._client: Any = client_of(channel)
        self._removed = 0

    def _of_queue(self, queue: str) -> Iterator[QueuedLetter]:
        for key in lists_of(self._channel, dead_queue(queue)):
            yield from self._of_list(queue, key)

    def _of_list(self, queue: str, key: str) -> Iterator[QueuedLetter]:
        # The oldest is the last. Counted from there, what is added meanwhile moves nothing.
        left = 0
        while page := self._client.lrange(key, -left - _PAGE, -left - 1):
            for text in reversed(page):
                before = self._removed
                yield QueuedLetter(self._letter(queue, text), (key, text))
                left += 1 - (self._removed - before)

    def _letter(self, queue: str, text: bytes) -> DeadLetter:
        try:
            message = json.loads(text)
            args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
            return _letter(self._handler, queue, message["headers"], args, kwargs)
        except (ValueError, KeyError, TypeError) as error:
            return letter_from_nothing_readable(
                self._handler, queue, text, f"{type(error).__name__}: {error}"
            )

    def remove(self, queued: QueuedLetter) -> None:
        key, text = queued.place
        self._client.lrem(key, -1, text)
        self._removed += 1


class _OnOthers(QueueByQueue):
    """RabbitMQ, whose messages are taken, and given back where they are only looked at."""

    def __init__(self, handler: str, queues: Collection[str], connection: Any) -> None:
        super().__init__(handler, queues)
        self._connection = connection

    def _of_queue(self, queue: str) -> Iterator[QueuedLetter]:
        channel = self._connection.channel()
        while True:
            try:
                found = channel.basic_get(dead_queue(queue), no_ack=False)
            except self._connection.channel_errors as error:
                if str(getattr(error, "reply_code", "")) != _NO_SUCH_QUEUE:
                    raise
                return
            if found is None:
                return
            message = channel.message_to_python(found)
            message.accept = {"application/json"}
            yield QueuedLetter(self._letter(queue, message), message)

    def _letter(self, queue: str, message: Any) -> DeadLetter:
        try:
            args, kwargs = arguments_of(message)
            return _letter(self._handler, queue, message.headers, args, kwargs)
        except Exception as error:  # of whatever decodes its content type
            body = message.body or b""
            return letter_from_nothing_readable(
                self._handler, queue, body, f"{type(error).__name__}: {error}"
            )

    def remove(self, queued: QueuedLetter) -> None:
        queued.place.ack()


def _letter(
    handler: str, queue: str, headers: Mapping[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> DeadLetter:
    return letter_from(handler, queue, headers["task"], headers["id"], args, kwargs, headers.get(DEAD))
