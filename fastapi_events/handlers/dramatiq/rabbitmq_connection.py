"""A connection to RabbitMQ that publishes many messages and waits once."""

from __future__ import annotations

import contextlib
import copy
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pika
import pika.exceptions
from pika.adapters.select_connection import IOLoop

from fastapi_events.checks import counted
from fastapi_events.errors import NotPublished
from fastapi_events.handlers.brokers.connection_pool import listed

_GOODBYE_SECONDS = 0.5
_ABORT_SECONDS = 0.05


class Publication:
    """A message on its way to a queue, and what RabbitMQ said of it."""

    __slots__ = ("body", "confirmed", "priority", "queue", "returned")

    def __init__(self, queue: str, body: bytes, priority: int | None = None) -> None:
        self.queue: str = queue
        self.body: bytes = body
        self.priority: int | None = priority
        self.confirmed: bool = False
        self.returned: bool = False


class ConfirmingConnection:
    """A connection with one channel in confirm mode, which runs only while somebody publishes.

    pika's BlockingConnection waits message by message. Its SelectConnection runs for as long as it is let.

    Parameters:
        parameters: Where to connect to; of several servers, to the first that answers.
        deadline: On the monotonic clock.

    Raises:
        TimeoutError: When nobody has answered by then.
        pika.exceptions.AMQPError: When nobody can be reached.
    """

    def __init__(self, parameters: Any, deadline: float) -> None:
        self._loop = _Loop()
        self._connection: Any = None
        self._channel: Any = None
        self._ready = False
        self._error: BaseException | None = None
        self._closed = False
        self._published = 0
        self._unconfirmed: dict[int, Publication] = {}
        self._refused: list[Publication] = []
        several = parameters if isinstance(parameters, list) else [parameters]
        attempt: Any = _Connection.create_connection(
            [_bounded(each, deadline) for each in several], self._on_connected, custom_ioloop=self._loop
        )
        try:
            self._wait(lambda: self._ready, deadline, "did not let us in")
        except BaseException:
            self._loop.cut()
            self._loop.run(lambda: self._closed, until=time.monotonic() + _ABORT_SECONDS)
            if self._connection is None and not self._closed:
                attempt.abort()  # pika can before there is a connection, not during its handshake
            self.hang_up()
            raise

    def publish(self, publications: Sequence[Publication], deadline: float) -> None:
        """Publish messages, and wait until each is confirmed; some of them may be `returned`.

        Parameters:
            deadline: On the monotonic clock.

        Raises:
            NotPublished: When some were refused.
            TimeoutError: When not all were confirmed by then.
            pika.exceptions.AMQPError: When the connection or the channel failed.
        """
        if self._loop.has_arrived():  # such as a farewell of the server
            self._loop.run(lambda: True)
        self._raise_if_failed()
        self._refused = []
        persistent: dict[int | None, pika.BasicProperties] = {}  # by priority; made once, since it shows
        with self._connection.together():
            for each in publications:
                each.returned = False
                if each.priority not in persistent:
                    persistent[each.priority] = pika.BasicProperties(delivery_mode=2, priority=each.priority)
                self._published += 1
                self._unconfirmed[self._published] = each
                self._channel.basic_publish(
                    "", each.queue, each.body, persistent[each.priority], mandatory=True
                )
        all_of_them = counted(len(publications), "message")
        self._wait(lambda: not self._unconfirmed, deadline, f"did not confirm {all_of_them}")
        if self._refused:
            raise NotPublished(
                f"RabbitMQ refused {len(self._refused)} of {all_of_them}, for queue "
                f"{listed(each.queue for each in self._refused)}"
            )

    def close(self) -> None:
        """Say goodbye, and hang up on a server that does not answer."""
        if self._connection is not None and self._connection.is_open:
            self._connection.close()
            self._loop.run(lambda: self._closed, until=time.monotonic() + _GOODBYE_SECONDS)
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection from our side, whatever the other does."""
        if not self._closed:
            self._loop.cut()
            self._loop.run(lambda: self._closed, until=time.monotonic() + _GOODBYE_SECONDS)
        self._loop.close()

    # Waiting

    def _wait(self, done: Callable[[], bool], deadline: float, what: str) -> None:
        self._loop.run(lambda: done() or self._error is not None, until=deadline)
        self._raise_if_failed()
        if not done():
            raise TimeoutError(f"RabbitMQ {what} in time")

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise self._error

    # What pika tells us

    def _on_connected(self, outcome: Any) -> None:
        if isinstance(outcome, BaseException):
            self._closed = True
            self._fail(pika.exceptions.AMQPConnectionError(_reason(outcome)))
            return
        self._connection = outcome
        outcome.add_on_close_callback(self._on_closed)
        outcome.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=self._on_ready)

    def _on_ready(self, _frame: Any) -> None:
        self._ready = True
        self._loop.stop()

    def _on_confirm(self, frame: Any) -> None:
        last = frame.method.delivery_tag
        tags: Iterable[int] = (last,)
        if frame.method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= last or last == 0]
        refused = isinstance(frame.method, pika.spec.Basic.Nack)
        for tag in tags:
            publication = self._unconfirmed.pop(tag)
            if refused:
                self._refused.append(publication)
            else:
                publication.confirmed = not publication.returned
        if not self._unconfirmed:
            self._loop.stop()

    def _on_return(self, _channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        """A message comes back just before it is confirmed."""
        for publication in self._unconfirmed.values():
            if (publication.queue, publication.body, publication.returned) == (
                method.routing_key,
                body,
                False,
            ):
                publication.returned = True
                return

    def _on_channel_closed(self, _channel: Any, reason: BaseException) -> None:
        self._fail(reason)

    def _on_closed(self, _connection: Any, reason: BaseException) -> None:
        self._closed = True
        self._fail(reason)

    def _fail(self, reason: BaseException) -> None:
        if self._error is None:
            self._error = reason
        self._loop.stop()


class _Connection(pika.SelectConnection):  # type: ignore[misc] # pika comes without types
    """Sends messages that are published together at once.

    pika sends each frame by itself, of which a message has three. Each time, other threads get the processor.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: list[bytes] | None = None

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Send what is published within the block when it ends."""
        self._held = []
        try:
            yield
        finally:
            data, self._held = b"".join(self._held), None
            if data and self.is_open:
                self._adapter_emit_data(data)

    def _adapter_emit_data(self, data: bytes) -> None:
        """What pika has adapters implement."""
        if self._held is None:
            super()._adapter_emit_data(data)
        else:
            self._held.append(data)


class _Loop(IOLoop):  # type: ignore[misc] # pika comes without types
    """pika's loop, which can be run for a while, and cuts its sockets off.

    pika has no way to close a connection whose other side does not answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._descriptors: set[int] = set()

    def add_handler(self, fd: int, handler: Any, events: int) -> None:
        super().add_handler(fd, handler, events)
        self._descriptors.add(fd)

    def remove_handler(self, fd: int) -> None:
        super().remove_handler(fd)
        self._descriptors.discard(fd)

    def run(self, done: Callable[[], bool], *, until: float = 0.0) -> None:
        """Handle what arrives, until something is done or a time has come; once in any case."""
        while True:
            timer = self.call_later(max(until - time.monotonic(), 0.0), self.stop)
            self.start()
            self.remove_timeout(timer)
            if done() or time.monotonic() >= until:
                return

    def has_arrived(self) -> bool:
        """Whether there is something to handle; to ask takes a tenth of the time of handling nothing."""
        with selectors.DefaultSelector() as selector:
            for fd in self._descriptors:
                selector.register(fd, selectors.EVENT_READ)
            return bool(selector.select(0))

    def cut(self) -> None:
        """Shut every socket down, so that pika finds them closed."""
        for fd in self._descriptors:
            # not connected yet, or not any more
            with socket.socket(fileno=os.dup(fd)) as also, contextlib.suppress(OSError):
                also.shutdown(socket.SHUT_RDWR)


def _bounded(parameters: Any, deadline: float) -> Any:
    left = max(deadline - time.monotonic(), 0.001)
    ours = copy.copy(parameters)
    ours.connection_attempts = 1
    ours.socket_timeout = ours.stack_timeout = ours.blocked_connection_timeout = left
    return ours


def _reason(error: BaseException) -> str:
    """What went wrong at last, inside of pika's wrappings."""
    wrapped = getattr(error, "exceptions", None) or [getattr(error, "exception", None)]
    last = wrapped[-1]
    return str(error) if last is None else _reason(last) or repr(last)
