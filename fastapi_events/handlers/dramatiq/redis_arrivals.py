"""What arrives in a list of Redis, waited for in the server rather than by looking again and again."""

from __future__ import annotations

import time
from typing import Any

import redis

from fastapi_events.storage.redis.clients import client_like

_PATIENCE = 5
"""Seconds for which one command waits in the server."""

_GRACE = 5.0
"""Seconds after which an answer that is due counts as lost."""


class CannotWaitError(Exception):
    """Raised where a server, a proxy or its access rules allow nobody to wait, or no client can."""


class Arrivals:
    """One connection on which the server says that a list has something in it.

    What waits is `BLMOVE list list LEFT LEFT`: it moves the first item to where it is, so that list and order
    stay as they are, and whoever takes the items may do so in a way of their own. The command stays with the
    server while nobody listens, and several may wait for the same list: each is told.

    Used by one thread at a time.

    Parameters:
        client: Whose server it is; the connection is another one, of the same kind.
        key: The list.
    """

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client = client
        self._key = key
        self._own: redis.Redis | None = None
        self._asked_until = 0.0

    @property
    def is_asked(self) -> bool:
        """Whether the server has been asked, and has not answered yet."""
        return self._asked_until > 0

    def ask(self) -> None:
        """Ask the server to answer as soon as something is in the list, now or later.

        Raises:
            CannotWaitError: No connection of the client's kind can be made.
            redis.RedisError: The server cannot be asked.
        """
        try:
            self._connection().send_command("BLMOVE", self._key, self._key, "LEFT", "LEFT", _PATIENCE)
        except redis.RedisError:
            self.close()
            raise
        self._asked_until = time.monotonic() + _PATIENCE

    def have_come(self, *, within: float) -> bool:
        """Wait for the answer, and ask again if there has been nothing for long.

        Parameters:
            within: Seconds.

        Returns:
            Whether something is in the list; then the server has to be asked anew.

        Raises:
            CannotWaitError: The server does not know how, or does not allow it.
            redis.RedisError: The server is away, or has something else to say.
        """
        try:
            connection = self._connection()
            if not connection.can_read(within):
                if time.monotonic() > self._asked_until + _GRACE:
                    raise redis.TimeoutError("the server does not say whether anything has come")
                return False
            moved = connection.read_response()
        except redis.RedisError as error:
            self.close()
            if _is_refusal(error):
                raise CannotWaitError(str(error)) from error
            raise
        self._asked_until = 0.0
        if moved is None:
            self.ask()
            return False
        return True

    def close(self) -> None:
        """End the connection; asking opens another."""
        own, self._own, self._asked_until = self._own, None, 0.0
        if own is not None:
            if own.connection is not None:
                own.connection.disconnect()  # type: ignore[no-untyped-call]
            own.close()
            own.connection_pool.disconnect()

    def _connection(self) -> Any:
        if self._own is None:
            try:
                like = client_like(self._client, socket_timeout=_PATIENCE + _GRACE)
            except TypeError as error:
                kind = type(self._client.connection_pool).__name__
                raise CannotWaitError(f"no {kind} can be made that is like the client's: {error}") from error
            self._own = redis.Redis(connection_pool=like.connection_pool, single_connection_client=True)
        return self._own.connection


def _is_refusal(error: redis.RedisError) -> bool:
    """Whether the server will always refuse: it is older than 6.2, a proxy, or forbids the command."""
    said = str(error).lower()
    return isinstance(error, redis.exceptions.NoPermissionError) or (
        isinstance(error, redis.ResponseError) and ("unknown command" in said or "not supported" in said)
    )
