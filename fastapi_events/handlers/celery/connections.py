"""Connections that publish many Celery messages with one wait."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery import Celery
from kombu.messaging import Producer

from fastapi_events.checks import counted
from fastapi_events.errors import NotPublished
from fastapi_events.handlers.brokers.connection_pool import listed
from fastapi_events.handlers.celery.alternatives import connect
from fastapi_events.handlers.celery.redis_client import keeping_client

Tasks = Sequence[Mapping[str, Any]]
"""Messages as arguments of `send_task`."""


class BatchingConnection:
    """A connection to Redis and its like, over which kombu sends a batch in one round trip.

    Parameters:
        url: Which of the app's brokers; None where it has one.
        timeout: Seconds to connect, and to wait for each answer.
    """

    def __init__(self, app: Celery, url: str | None, *, timeout: float) -> None:
        self.confirmed: set[str] = set()  # a batch is in the broker as a whole, or its outcome is unknown
        self._app = app
        self._connection = _connect(app, url, timeout)
        self._producer: Any = _Producer(self._connection)

    def publish(self, tasks: Tasks, *, timeout: float) -> None:
        """Publish messages, in one round trip where kombu can."""
        with self._producer.batch():
            _send(self._app, self._producer, tasks)

    def close(self) -> None:
        """Say goodbye; the connection is gone afterwards in any case."""
        _close(self._connection)

    def hang_up(self) -> None:
        """Close the connection to a server that does not answer."""
        _close(self._connection)


class ConfirmingConnection:
    """A connection to RabbitMQ that counts the confirms of a channel, where kombu would wait for each.

    Parameters:
        url: Which of the app's brokers; None where it has one.
        timeout: Seconds to connect.
    """

    def __init__(self, app: Celery, url: str | None, *, timeout: float) -> None:
        self.confirmed: set[str] = set()
        self._app = app
        self._published = 0
        self._unconfirmed: dict[int, str] = {}
        self._returned: dict[str, str] = {}
        self._refused: list[str] = []
        # With confirm_publish kombu would wait for each confirm by itself.
        self._connection = _connect(app, url, timeout, confirm_publish=False)
        try:
            self._channel: Any = self._connection.default_channel
            self._channel.events["basic_ack"].add(self._on_ack)
            self._channel.events["basic_nack"].add(self._on_nack)
            self._channel.events["basic_return"].add(self._on_return)
            self._channel.confirm_select()
        except BaseException:
            self.close()
            raise

    def publish(self, tasks: Tasks, *, timeout: float) -> None:
        """Publish messages, and wait until each is confirmed.

        Parameters:
            timeout: Seconds for all of them.

        Raises:
            NotPublished: When some were refused, or no queue took them.
            TimeoutError: When not all were confirmed in time.
        """
        deadline = time.monotonic() + timeout
        self.confirmed, self._returned, self._refused = set(), {}, []
        queues: dict[str, str] = {}
        _send(self._app, _Counting(self._channel, self._count, queues), tasks)
        while self._unconfirmed:
            left = deadline - time.monotonic()
            try:
                self._connection.drain_events(timeout=max(left, 0.001))
            except OSError as error:
                if left > 0 and not isinstance(error, TimeoutError):
                    raise
                raise TimeoutError(
                    f"RabbitMQ did not confirm {counted(len(tasks), 'message')} in time"
                ) from error
        if self._returned:
            raise NotPublished(f"RabbitMQ has no queue {listed(self._returned.values())}")
        if self._refused:
            raise NotPublished(
                f"RabbitMQ refused {len(self._refused)} of {counted(len(tasks), 'message')}, for queue "
                f"{listed(queues[each] for each in self._refused)}"
            )

    def close(self) -> None:
        """Say goodbye; the connection is gone afterwards in any case."""
        _close(self._connection)

    def hang_up(self) -> None:
        """Close the connection to a server that does not answer, and reads no goodbye, either."""
        with contextlib.suppress(Exception):  # whatever a client raises whose server is gone
            self._connection.connection.collect()
        _close(self._connection)

    def _count(self, task_id: str) -> None:
        self._published += 1  # the delivery tag that the channel gives it
        self._unconfirmed[self._published] = task_id

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for task_id in self._settled(tag, multiple):
            if task_id not in self._returned:
                self.confirmed.add(task_id)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused.extend(self._settled(tag, multiple))

    def _on_return(self, _error: Any, _exchange: str, routing_key: str, message: Any) -> None:
        """A message comes back just before it is confirmed."""
        self._returned[str(message.properties.get("correlation_id"))] = routing_key

    def _settled(self, tag: int, multiple: bool) -> list[str]:
        if not multiple:
            return [self._unconfirmed.pop(tag)]
        return [self._unconfirmed.pop(each) for each in list(self._unconfirmed) if each <= tag or tag == 0]


class _Producer(Producer):
    """Knows a queue that it has declared by its object; kombu makes a copy of it for each message."""

    def __init__(self, channel: Any) -> None:
        super().__init__(channel, auto_declare=False)  # type: ignore[no-untyped-call]
        self._declared: dict[int, Any] = {}

    def maybe_declare(self, entity: Any, *args: Any, **policy: Any) -> Any:
        if self._declared.get(id(entity)) is entity:
            return False
        result = super().maybe_declare(entity, *args, **policy)  # type: ignore[no-untyped-call]
        if entity.can_cache_declaration:
            self._declared[id(entity)] = entity
        return result


class _Counting(_Producer):
    """Tells of each message, Celery's own about the task included, and asks for it back where no queue is."""

    def __init__(self, channel: Any, count: Callable[[str], None], queues: dict[str, str]) -> None:
        super().__init__(channel)
        self._count = count
        self._queues = queues

    def publish(self, *args: Any, **options: Any) -> Any:
        # RabbitMQ drops what expires in a queue and logs nothing; a worker keeps it as a dead letter.
        options.pop("expiration", None)
        task_id = options.get("correlation_id")
        options["mandatory"] = task_id is not None
        result = super().publish(*args, **options)  # type: ignore[no-untyped-call]
        self._queues[str(task_id)] = str(options.get("routing_key"))
        self._count(str(task_id))
        return result


def _send(app: Celery, producer: Any, tasks: Tasks) -> None:
    for each in tasks:
        task = _with_whole_seconds(app, each)
        app.send_task(
            **task, producer=producer, serializer="json", ignore_result=True, retry=False, add_to_parent=False
        )


def _with_whole_seconds(app: Celery, task: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message whose wait is rounded up where the app has quorum queues.

    There it waits in RabbitMQ, for whole seconds; Celery refuses less than one.
    """
    if not task.get("countdown"):
        return task
    queues = app.amqp.queues.values()
    if not any((each.queue_arguments or {}).get("x-queue-type") == "quorum" for each in queues):
        return task
    return {**task, "countdown": math.ceil(task["countdown"])}


def _connect(app: Celery, url: str | None, timeout: float, **options: Any) -> Any:
    # Whatever transport the app has chosen, or its URL. To find that out connects nowhere.
    transport = keeping_client(app.connection_for_write(url).get_transport_cls())
    return connect(app, url, timeout=timeout, transport=transport, transport_options=options)


def _close(connection: Any) -> None:
    with contextlib.suppress(Exception):  # whatever a client raises whose server is gone
        connection.release()
