"""Send one Redis transaction from the running event loop without blocking it.

Handing over to a thread and back wakes two threads up, which takes longer than the way to a server nearby.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, TypeAlias

import redis
from redis import asyncio as redis_asyncio

Commands: TypeAlias = Sequence[tuple[str | bytes, ...]]

_COUNTERPARTS: Mapping[type, Any] = {
    redis.Connection: redis_asyncio.Connection,
    redis.SSLConnection: redis_asyncio.SSLConnection,
    redis.UnixDomainSocketConnection: redis_asyncio.UnixDomainSocketConnection,
}

_IN_COMMON = frozenset(
    {
        *("host", "port", "path", "db", "username", "password", "credential_provider", "client_name"),
        *("protocol", "socket_keepalive", "socket_keepalive_options", "socket_type"),
    }
)
"""The settings that both kinds of connections have, beside those of TLS; a deadline bounds the rest."""

_CLOSING_SECONDS = 1.0
"""How long a server may take to agree that an encrypted connection ends."""


class LoopConnection:
    """A connection of its own, for one transaction at a time, on whichever event loop wants one.

    Parameters:
        kind: The class of redis-py's connections for event loops.
        settings: What such a connection is made with.
    """

    def __init__(self, kind: Any, settings: Mapping[str, Any]) -> None:
        self._kind = kind
        self._settings = settings
        self._in_use = threading.Lock()
        self._transactions: AsyncGenerator[bool, Commands] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._inherited: list[object] = []

    @classmethod
    def like(cls, pool: redis.ConnectionPool) -> LoopConnection | None:
        """A connection to where those of a pool lead; None where a loop can have none that is like them."""
        settings = pool.connection_kwargs
        kind = _COUNTERPARTS.get(pool.connection_class)
        if kind is None or settings.get("redis_connect_func") is not None:
            return None
        common: dict[str, Any] = {
            name: value
            for name, value in settings.items()
            if value is not None and (name in _IN_COMMON or name.startswith("ssl_"))
        }
        common["socket_timeout"] = None  # a deadline is set around; a timer for each reply is dear
        try:
            kind(**common)
        except TypeError:  # a setting of TLS that only connections of threads have
            return None
        return cls(kind, common)

    @property
    def is_free(self) -> bool:
        """Whether no transaction is under way."""
        return not self._in_use.locked()

    async def execute(self, commands: Commands) -> bool:
        """Execute commands as one transaction, on the running loop.

        Parameters:
            commands: Each answers with a number.

        Returns:
            Whether the server has confirmed all of it. If not, it did nothing, or the connection has broken
            off, or another transaction is under way.
        """
        if not self._in_use.acquire(blocking=False):
            return False
        confirmed = False
        try:
            transactions = await self._on_this_loop()
            confirmed = await transactions.asend(commands)
        except (redis.RedisError, OSError):
            pass  # a thread finds out what is the matter
        finally:
            if not confirmed:
                self._transactions = None  # it has ended, and closed its connection
            self._in_use.release()
        return confirmed

    async def close(self) -> None:
        """Close the connection of the running loop, unless a transaction is under way."""
        if self._in_use.acquire(blocking=False):
            transactions, self._transactions = self._transactions, None
            self._in_use.release()
            if transactions is not None and self._loop is asyncio.get_running_loop():
                await transactions.aclose()

    async def _on_this_loop(self) -> AsyncGenerator[bool, Commands]:
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            self._inherited.append(self._transactions)  # the parent's, whose loop is not to hear of it
            self._transactions = None
        if self._transactions is None or self._loop is not loop:
            self._loop, self._pid = loop, os.getpid()
            self._transactions = _transactions(self._kind(**self._settings))
            await anext(self._transactions)
        return self._transactions


async def _transactions(connection: Any) -> AsyncGenerator[bool, Commands]:
    """Connect, and execute the transactions that are sent in, until one is not confirmed.

    It is a generator because loops end those they have begun: `asyncio.run` closes its connection by that.
    """
    try:
        await connection.connect()
        confirmed = True
        while confirmed:
            commands = yield confirmed
            packed = connection.pack_commands([("MULTI",), *commands, ("EXEC",)])
            await connection.send_packed_command(packed, check_health=False)
            for _ in range(len(commands) + 1):
                await connection.read_response()  # queued, or an error
            counted = await connection.read_response()
            confirmed = isinstance(counted, list) and all(isinstance(each, int) for each in counted)
        yield confirmed
    except GeneratorExit:  # the loop may end next, and encrypted connections need some of its turns to close
        with contextlib.suppress(redis.RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await connection.disconnect()
        raise
    finally:
        await connection.disconnect(nowait=True)
