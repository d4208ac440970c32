"""An event is looked for in Dramatiq's queues."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import dramatiq
from dramatiq.common import dq_name
from dramatiq.errors import DecodeError

from fastapi_events.handlers.dramatiq import installed_brokers
from fastapi_events.handlers.dramatiq.depth import depths
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

if installed_brokers.redis is not None:
    from fastapi_events.handlers.dramatiq.redis_publisher import publishing_client

_PAGE = 500
_IN_ITSELF = re.compile(r"[\w.:-]*", re.ASCII)
"""An id that JSON within JSON spells as it is."""


def search(broker: dramatiq.Broker, queues: Collection[str], prefix: str, *, timeout: float) -> QueueSearch:
    """Look for events whose ids begin with a prefix.

    Parameters:
        timeout: Seconds for each step.

    Raises:
        Exception: What the broker's client raises, when it does not answer.
    """
    if installed_brokers.is_redis(broker):
        return _on_redis(broker, queues, prefix, timeout=timeout)
    if installed_brokers.is_rabbitmq(broker):
        found = [each for each in depths(broker, queues, timeout=timeout) if each.ready or each.consumers]
        several = [f"{each.queue} ({each.ready} ready)" for each in found] or queues
        return cannot_look(several, "RabbitMQ shows no message that is not taken from its queue")
    return cannot_look(queues, f"nobody can look into a {type(broker).__name__}")


def _on_redis(broker: Any, queues: Collection[str], prefix: str, *, timeout: float) -> QueueSearch:
    # The lists and hashes that the comments of Dramatiq's own script describe.
    search = QueueSearch()
    client = publishing_client(broker.client, timeout=timeout)
    try:
        for queue in queues:
            for name, is_delayed in ((queue, False), (dq_name(queue), True)):
                key = f"{broker.namespace}:{name}"
                total = client.hlen(f"{key}.msgs")
                if total > MOST_MESSAGES:
                    search.cut(name, total)
                messages = client.hscan_iter(f"{key}.msgs", count=_PAGE)
                for identity, body in itertools.islice(messages, MOST_MESSAGES):
                    for event in _events(queue, body, prefix, is_delayed=is_delayed):
                        ahead: Any = None if is_delayed else client.lpos(key, identity)
                        state = DELAYED if is_delayed else IN_HAND if ahead is None else READY
                        search.found.append(replace(event, state=state, ahead=ahead))
    finally:
        client.close()
    return search


def _events(queue: str, body: bytes, prefix: str, *, is_delayed: bool) -> Iterator[QueuedEvent]:
    if _IN_ITSELF.fullmatch(prefix) and prefix.encode() not in body:
        return  # most of them
    with suppress(DecodeError, AttributeError):
        message: dramatiq.Message[Any] = dramatiq.Message.decode(body)
        due = message.options.get("eta") if is_delayed else None
        for id_, envelope in events_with(message.args, prefix):
            yield QueuedEvent(
                id=id_, envelope=envelope, queue=queue, task=message.actor_name, state=READY,
                due=due / 1_000 if isinstance(due, (int, float)) else None,
            )  # fmt: skip
