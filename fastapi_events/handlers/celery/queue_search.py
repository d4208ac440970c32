"""An event is looked for in the queues of a Celery app."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

from celery import Celery

from fastapi_events import clock
from fastapi_events.handlers.celery.alternatives import connected
from fastapi_events.handlers.celery.depth import client_of, due_of, is_redis, lists_of
from fastapi_events.handlers.task_queue.queue_search import (
    DELAYED,
    IN_HAND,
    MOST_MESSAGES,
    READY,
    QueuedEvent,
    QueueSearch,
    cannot_look,
    events_with,
)

_PAGE = 500


def search(app: Celery, queues: Collection[str], prefix: str, *, timeout: float) -> QueueSearch:
    """Look for events whose ids begin with a prefix.

    Parameters:
        timeout: Seconds for each step.

    Raises:
        Exception: What the broker's client raises, when it does not answer.
    """
    with connected(app, timeout=timeout) as connection:
        if is_redis(connection):
            return _on_redis(connection.default_channel, queues, prefix)
        kind = connection.transport.driver_type
        name = "RabbitMQ" if kind == "amqp" else f"a broker of kind {kind!r}"
        return cannot_look(queues, f"{name} shows no message that is not taken from its queue")


def _on_redis(channel: Any, queues: Collection[str], prefix: str) -> QueueSearch:
    search, client = QueueSearch(), client_of(channel)
    for queue in queues:
        for key in lists_of(channel, queue):
            total = client.llen(key)
            if total > MOST_MESSAGES:
                search.cut(queue, total)
            # The next is the last, from where it is counted: what is added meanwhile moves nothing.
            for begin in range(0, min(total, MOST_MESSAGES), _PAGE):
                page = client.lrange(key, -begin - _PAGE, -begin - 1)
                for ahead, text in enumerate(reversed(page), begin):
                    with suppress(ValueError, KeyError, TypeError):  # of another program
                        search.found += _events(queue, json.loads(text), prefix, ahead=ahead)
    # Redis keeps what workers have taken for all queues together.
    key = channel.global_keyprefix + channel.unacked_key
    total = client.hlen(key)
    if total > MOST_MESSAGES:
        search.cut("what workers have taken", total)
    for _, text in itertools.islice(client.hscan_iter(key, count=_PAGE), MOST_MESSAGES):
        with suppress(ValueError, KeyError, TypeError):
            message, _, queue = json.loads(text)
            if queue in queues:
                search.found += _events(queue, message, prefix, ahead=None)
    return search


def _events(
    queue: str, message: Mapping[str, Any], prefix: str, *, ahead: int | None
) -> Iterator[QueuedEvent]:
    arguments = json.loads(base64.b64decode(message["body"]))[0]
    due = due_of(message)
    is_delayed = due is not None and due > clock.timestamp()
    state = DELAYED if is_delayed else IN_HAND if ahead is None else READY
    for id_, envelope in events_with(arguments, prefix):
        yield QueuedEvent(
            id=id_, envelope=envelope, queue=queue, task=message["headers"]["task"], state=state,
            ahead=None if is_delayed else ahead, due=due if is_delayed else None,
        )  # fmt: skip
