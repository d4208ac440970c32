"""A transaction with Redis on the event loop, which waits for neither way of it.

Handing over to a thread and back wakes two threads up, which takes longer than the way to a server nearby.
Here the loop itself sends what the socket takes at once, and its selector tells when there is an answer.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import redis

Commands: TypeAlias = Sequence[tuple[str | bytes, ...]]

# Each command has been queued; then each has counted something.
_CONFIRMED = re.compile(rb"\+OK\r\n(?:\+QUEUED\r\n)+\*\d+\r\n(?::\d+\r\n)+")

_MOST_READ = 65_536


class Exchange:
    """A connection of its own, for one transaction at a time, on whichever event loop wants one.

    It knows the ordinary case only. A connection that is encrypted, or has ended, a loop without a selector,
    an answer that is no confirmation: all that is left to a thread, which may block.
    """

    def __init__(self) -> None:
        self._in_use = threading.Lock()
        self._possible = True
        self._connection: Any = None
        self._pid = 0
        self._answered: Callable[[bool], None] | None = None

    def open(self, pool: redis.ConnectionPool) -> None:
        """Connect where there is no connection; blocks, and is no place for an event loop.

        Parameters:
            pool: Says where to, and how.
        """
        if not self._possible or not self._in_use.acquire(blocking=False):
            return
        try:
            if self._connection is None or self._pid != os.getpid():
                self._open(pool)
        except (redis.RedisError, OSError):
            self._connection = None  # one can do without
        finally:
            self._in_use.release()

    def begin(
        self, commands: Callable[[], Commands], answered: Callable[[bool], None]
    ) -> Callable[[], None] | None:
        """Send a transaction from the running loop.

        Parameters:
            commands: What makes them, if it comes to that. Each answers with a number.
            answered: Called on the loop, with whether the server has confirmed all of it. If not, it did
                nothing, or the connection has broken off.

        Returns:
            What gives the transaction up, which may have arrived; None when nothing has been sent.
        """
        if not self._possible or not self._in_use.acquire(blocking=False):
            return None
        if self._connection is None or self._pid != os.getpid():
            self._in_use.release()
            return None
        self._loop = asyncio.get_running_loop()
        self._unsent = memoryview(b"")
        self._received = b""
        try:
            if self._is_silent():
                made = commands()
                self._expected = 2 * len(made) + 2
                self._loop.add_reader(self._number, self._on_readable)
                self._answered = answered
                self._send(memoryview(_packed([("MULTI",), *made, ("EXEC",)])))
                return self.abandon
        except NotImplementedError:  # the loop has no selector
            self._possible = False
        except OSError:
            pass
        except BaseException:
            self._end(confirmed=False)
            raise
        self._end(confirmed=False)
        return None

    def abandon(self) -> None:
        """Give up the transaction under way, and its connection."""
        if self._answered is not None:
            self._end(confirmed=False)

    def close(self) -> None:
        """Close the connection, unless a transaction is under way."""
        if self._in_use.acquire(blocking=False):
            self._drop()
            self._in_use.release()

    def _open(self, pool: Any) -> None:
        connection = pool.connection_class(**pool.connection_kwargs)
        connection.connect()
        # There is no public way to what a selector wants. Whatever stands there instead of a plain socket,
        # such as an encrypted one, may hold more than a selector knows of.
        plain = getattr(connection, "_sock", None)
        if type(plain) is not socket.socket:
            self._possible = False
            connection.disconnect()
            return
        plain.setblocking(False)
        self._connection, self._socket, self._pid = connection, plain, os.getpid()
        self._number = plain.fileno()  # selectors print a socket, at length, whenever it is new to them

    def _is_silent(self) -> bool:
        """Whether the server has neither closed the connection nor said something that nobody asked for."""
        try:
            self._socket.recv(1)
        except BlockingIOError:
            return True
        return False

    def _send(self, data: memoryview) -> None:
        with suppress(BlockingIOError):
            data = data[self._socket.send(data) :]
        if data and not self._unsent:
            self._loop.add_writer(self._number, self._on_writable)
        elif self._unsent and not data:
            self._loop.remove_writer(self._number)
        self._unsent = data

    def _on_writable(self) -> None:
        try:
            self._send(self._unsent)
        except OSError:
            self._tell(confirmed=False)

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(_MOST_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        received = self._received = self._received + data
        if received.count(b"\r\n") >= self._expected:
            self._tell(confirmed=_CONFIRMED.fullmatch(received) is not None)
        elif not data or b"\n-" in received or received[0] == b"-"[0]:
            self._tell(confirmed=False)

    def _tell(self, *, confirmed: bool) -> None:
        answered = self._answered
        self._end(confirmed=confirmed)
        if answered is not None:
            answered(confirmed)

    def _end(self, *, confirmed: bool) -> None:
        self._answered = None
        with suppress(RuntimeError, NotImplementedError):  # the loop is closed, or has no selector
            self._loop.remove_reader(self._number)
            if self._unsent:
                self._loop.remove_writer(self._number)
        if not confirmed:
            self._drop()
        self._in_use.release()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()


def _packed(commands: Commands) -> bytes:
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for each in command:
            argument = each if isinstance(each, bytes) else each.encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(argument), argument))
    return b"".join(parts)
