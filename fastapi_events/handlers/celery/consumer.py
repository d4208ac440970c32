"""The consumer of a worker that keeps what Celery's own drops."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import signals
from celery.exceptions import Reject
from celery.utils.imports import symbol_by_name
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown
from kombu.exceptions import OperationalError

from fastapi_events.handlers.celery.foreign_messages import fault_of
from fastapi_events.handlers.celery.passed_on import opened
from fastapi_events.handlers.celery.publisher import speaks_amqp
from fastapi_events.handlers.celery.unclaimed import Responsible, unclaimed_of
from fastapi_events.handlers.task_queue.worker.reporter import reporter

logger: logging.Logger = logging.getLogger(__name__)

_CELERYS = "celery.worker.consumer:Consumer"

_GOODBYE_SECONDS = 5.0
_AGAIN_SECONDS = 0.5
_OFTEN_SECONDS = 30.0


def address_of(connection: Any) -> str:
    """A connection's URL as people write it, `redis://…`, where a class of a transport stands in it."""
    uri = str(connection.as_uri())
    return re.sub(r"^[\w.]+:\w+(?=://)", lambda _: connection.transport.driver_type, uri)


class KeepingConsumer(Consumer):  # type: ignore[misc]  # Celery comes without types
    """Celery's consumer, which acknowledges a message that no task takes only when it is kept elsewhere.

    Celery's own rejects it, which drops it; or ends with an error, and finds it again when it is restarted.
    Messages in queues that are not our handlers' are left to it.
    """

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """What is called with each message that is received."""
        receive: Callable[[Any], Any] = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> Any:
            fault = fault_of(message)
            if fault is not None and self._keep_unreadable(message, fault):
                return None
            return receive(opened(message, self.strategies))

        return on_task_received

    def ensure_connected(self, conn: Any) -> Any:
        """Connect; after the loss of a connection it looks often at first, and then as Celery does.

        Celery's own looks again after 2, 4, 6 seconds and so on: a broker that was away for some seconds had
        as long to wait for its workers.
        """
        if self.app.conf.broker_connection_retry and not self.first_connection_attempt:
            said: list[Exception] = []

            def say_once(error: Exception, interval: float) -> None:
                if not said:
                    logger.warning(
                        "Cannot connect to %s, and try again every %.1f s: %s",
                        address_of(conn),
                        interval,
                        error,
                    )
                said.append(error)

            with contextlib.suppress(OperationalError, *conn.recoverable_connection_errors):
                conn.ensure_connection(
                    say_once, interval_start=_AGAIN_SECONDS, interval_step=0, interval_max=_AGAIN_SECONDS,
                    callback=maybe_shutdown, timeout=_OFTEN_SECONDS,
                )  # fmt: skip
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Let go of a connection that is lost, whatever it says of that.

        A channel of kombu's to Redis may need its server to close: where that refuses connections at this
        moment, an `AttributeError` would end the worker.
        """
        try:
            super().on_connection_error_after_connected(exc)
        except AttributeError as error:
            logger.info("A lost connection could not be closed in order: %s", error)

    def connection_for_write(self, url: Any = None, heartbeat: Any = None) -> Any:
        """Connect for what Celery tells other workers of this one, which needs no confirm.

        With `confirm_publish` the worker would wait for one without end while RabbitMQ has an alarm, and not
        even hear that it is to stop.
        """
        if not speaks_amqp(self.app):
            return super().connection_for_write(url, heartbeat)
        return self.ensure_connected(
            self.app.connection_for_write(
                url=url, heartbeat=heartbeat, transport_options={"confirm_publish": False}
            )
        )

    def shutdown(self) -> None:
        """Stop, and wait for no goodbye of a broker that does not answer, as RabbitMQ with an alarm."""
        hang_up = threading.Timer(_GOODBYE_SECONDS, self._hang_up)
        hang_up.daemon = True
        hang_up.start()
        try:
            super().shutdown()
        finally:
            hang_up.cancel()

    def _hang_up(self) -> None:
        """Shut the connection down on which Celery tells other workers of itself: it alone publishes."""
        dispatcher = self.event_dispatcher
        if dispatcher is not None and speaks_amqp(self.app):
            with contextlib.suppress(Exception):  # whatever a client raises that has lost its connection
                dispatcher.connection.connection.sock.shutdown(socket.SHUT_RDWR)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Publish a message that no task has the name of to the task that waits for a worker which has it."""
        name = message.headers["task"] if "task" in message.headers else message.payload["task"]
        identity = message.headers["id"] if "task" in message.headers else message.payload["id"]
        if self._keep(message, partial(_keep_unknown, message, name, identity)):
            signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=identity)
        else:
            super().on_unknown_task(body, message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Keep a message whose body cannot be decoded, or not decompressed."""
        if not self._keep_unreadable(message, f"{type(exc).__name__}: {exc}"):
            super().on_decode_error(message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep a message with a value that Celery cannot take, such as the time at which it is due."""
        if not self._keep_unreadable(message, f"{type(exc).__name__}: {exc}"):
            super().on_invalid_task(body, message, exc)

    def _keep_unreadable(self, message: Any, fault: str) -> bool:
        return self._keep(message, partial(_keep_unreadable, message, fault))

    def _keep(self, message: Any, keep: Callable[[Responsible, str], None]) -> bool:
        """Keep a message as a dead letter, then acknowledge it; False if no handler is responsible for it."""
        unclaimed = unclaimed_of(self.app)
        found = None if unclaimed is None else unclaimed.find(message.delivery_info)
        if found is None:
            return False
        reporter.took(found[1])
        try:
            keep(*found)
        except Reject:  # the worker stops while the broker is away: the message is given back when it has
            return True
        message.ack_log_error(logger, self.connection_errors)
        return True


def _keep_unknown(message: Any, name: str, identity: str, responsible: Responsible, queue: str) -> None:
    responsible.tasks.keep_unknown(responsible.worker, message, name, identity, queue)


def _keep_unreadable(message: Any, fault: str, responsible: Responsible, queue: str) -> None:
    responsible.tasks.keep_unreadable(responsible.worker, message, fault, queue)


def use_in(worker: Any) -> None:
    """Let a worker that is about to start use our consumer, unless its app has chosen one of its own."""
    chosen = symbol_by_name(worker.consumer_cls)
    if chosen is symbol_by_name(_CELERYS):
        worker.consumer_cls = KeepingConsumer
    elif not issubclass(chosen, KeepingConsumer):
        logger.warning(
            "The app's worker_consumer is %s: what no task takes is dropped, as Celery does. Derive it from "
            "fastapi_events.handlers.celery.consumer.KeepingConsumer to have it kept.", worker.consumer_cls,
        )  # fmt: skip
