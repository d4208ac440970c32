"""Celery messages to the broker, many in one round trip and none of them for ever."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery

# Celery's repr of the arguments costs most of the time that building a message takes, and shows the payload.
_NO_REPR = {"argsrepr": "(…)", "kwargsrepr": "{}"}

_WORKER_SECONDS = 5.0
"""How long a worker waits for an answer from the broker, before it tries again."""


class CeleryPublisher:
    """Publishes through an app's broker, with connections of its own whose every step is bounded.

    By default Celery may wait for an answer for ever. Each thread has its connection, and a forked child
    opens others.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._connections = threading.local()

    def publish(self, messages: Sequence[Mapping[str, Any]], *, timeout: float = _WORKER_SECONDS) -> None:
        """Publish messages, given as arguments of `send_task`; or raise what the client raises.

        Parameters:
            timeout: Seconds to connect, and to wait for each answer.
        """
        fresh = self._connection() is None
        try:
            self._publish_once(messages, timeout)
        except Exception as error:
            self._close()
            if fresh or isinstance(error, TimeoutError) or "timed out" in str(error).lower():
                raise
            # The server has closed the connection since, as servers do with idle ones; a new one does.
            self._publish_once(messages, timeout)

    def disconnect(self) -> None:
        """Forget every connection: each belongs to the thread that opened it, and ends with it."""
        self._connections = threading.local()

    def _publish_once(self, messages: Sequence[Mapping[str, Any]], timeout: float) -> None:
        connection = self._connection() or self._connect(timeout)
        producer = self._app.amqp.Producer(connection, auto_declare=False)
        with producer.batch():
            for message in messages:
                self._app.send_task(
                    **message, **_NO_REPR, producer=producer, serializer="json", ignore_result=True,
                    retry=False, add_to_parent=False,
                )  # fmt: skip

    def _connection(self) -> Any:
        """This thread's connection, if it has one: connections are not for sharing, least across a fork."""
        pid, connection = getattr(self._connections, "current", (None, None))
        return connection if pid == os.getpid() else None

    def _connect(self, timeout: float) -> Any:
        bounds: dict[str, Any]
        if str(self._app.conf.broker_write_url).startswith("amqp"):
            bounds = {"read_timeout": timeout, "write_timeout": timeout, "confirm_publish": True}
        else:
            bounds = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        connection = self._app.connection_for_write(
            connect_timeout=timeout, transport_options={**bounds, "max_retries": 0}
        )
        self._connections.current = os.getpid(), connection
        connection.default_channel  # noqa: B018 - connects now, with the options above
        return connection

    def _close(self) -> None:
        connection = self._connection()
        self._connections.current = None, None
        if connection is not None:
            connection.release()
