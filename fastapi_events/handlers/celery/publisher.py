"""Celery messages to the broker, many in one round trip and none of them for ever."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from celery import Celery
from kombu.serialization import prepare_accept_content

from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.brokers.connection_pool import Keep
from fastapi_events.handlers.celery.alternatives import SHORTEST_WAIT_SECONDS, first_reached
from fastapi_events.handlers.celery.connections import BatchingConnection, ConfirmingConnection

# Celery's repr of the arguments costs most of the time that building a message takes, and shows the payload.
_NO_REPR = {"argsrepr": "(…)", "kwargsrepr": "{}"}

JSON = "application/json"

_WORKER_SECONDS = 5.0
"""How long a worker waits for an answer from the broker, before it tries again."""

# Celery's prefix to the routing key of a message that waits in RabbitMQ: a digit for each bit of the delay.
_DELAY_BITS = re.compile(r"(?:[01]\.){28}")


class CeleryPublisher:
    """Publishes through an app's broker, with connections of its own whose every step is bounded.

    By default Celery may wait for an answer for ever, and on RabbitMQ for that of each message or for none. A
    connection belongs to one thread at a time, and a forked child opens others.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._connections: Keep[_Connection] = Keep()
        self._reached: str | None = None

    def publish(self, messages: Sequence[Mapping[str, Any]], *, timeout: float = _WORKER_SECONDS) -> None:
        """Publish messages, given as arguments of `send_task`; or raise what the client raises.

        Parameters:
            timeout: Seconds to connect, and to wait for each answer; on RabbitMQ for all of it.

        Raises:
            NotPublished: When RabbitMQ refused some, or no queue takes them; it names the queues.
        """
        deadline = time.monotonic() + timeout
        with self._connections.lent() as own:
            fresh = not own
            waiting: Sequence[Mapping[str, Any]] = messages
            try:
                self._publish_once(own, waiting, timeout, deadline)
            except Exception as error:
                failed = own.pop() if own else None
                if failed is not None:
                    waiting = [each for each in messages if each.get("task_id") not in failed.confirmed]
                    failed.hang_up()
                if fresh or isinstance(error, TimeoutError) or "timed out" in str(error).lower():
                    raise
                # The server has closed the connection since, as servers do with idle ones, or somebody has
                # deleted a queue that this connection had declared. A new one declares it again.
                self._publish_once(own, waiting, timeout, deadline)

    def disconnect(self) -> None:
        """Close every connection that is not in use; the next flush opens another."""
        self._connections.close()

    def _publish_once(
        self, own: list[_Connection], messages: Sequence[Mapping[str, Any]], timeout: float, deadline: float
    ) -> None:
        if not own:
            own.append(self._connect(min(timeout, deadline - time.monotonic())))
        left = max(min(timeout, deadline - time.monotonic()), SHORTEST_WAIT_SECONDS)
        own[0].publish([{**each, **_NO_REPR} for each in messages], timeout=left)

    def _connect(self, timeout: float) -> _Connection:
        kind: Callable[..., _Connection]
        kind = ConfirmingConnection if speaks_amqp(self._app) else BatchingConnection

        def connect(url: str | None, seconds: float) -> _Connection:
            connection = kind(self._app, url, timeout=seconds)
            self._reached = url
            return connection

        return first_reached(self._app, connect, timeout=timeout, beginning_with=self._reached)


class _Connection(Protocol):
    confirmed: set[str]
    """The ids of what is known to be in the broker, when `publish` has failed."""

    def publish(self, tasks: Sequence[Mapping[str, Any]], *, timeout: float) -> None: ...

    def hang_up(self) -> None: ...

    def close(self) -> None: ...


def speaks_amqp(app: Celery) -> bool:
    """Whether an app's broker is RabbitMQ."""
    url = app.conf.broker_write_url
    first = url[0] if isinstance(url, (list, tuple)) and url else url
    return str(first).startswith(("amqp", "pyamqp"))


def check_content(app: Celery) -> None:
    """Refuse an app whose workers would refuse our messages, which are JSON whatever its `task_serializer`.

    Raises:
        ConfigurationError: When its `accept_content` lacks JSON.
    """
    accepted = app.conf.accept_content
    if accepted is not None and JSON not in prepare_accept_content(accepted):
        raise ConfigurationError(
            f"CeleryHandler sends JSON, which workers of this app would refuse: its accept_content is "
            f"{list(accepted)!r}; add 'json'."
        )


def queue_of(delivery_info: Mapping[str, Any] | None) -> str | None:
    """The queue that a message came from, which a route may have chosen."""
    routing_key = (delivery_info or {}).get("routing_key")
    return None if routing_key is None else _DELAY_BITS.sub("", routing_key, count=1)
