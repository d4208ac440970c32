"""Channels to Redis that keep their client, where kombu makes one for each command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any


class KeepsClient:
    """What makes a channel of kombu's to Redis keep its client.

    To make one takes longer than the command that it is for, and it costs nothing to keep: connections are
    the pool's, of whom the client borrows one for each command. Threads may share it.
    """

    _kept: tuple[Any, Any] | None = None

    @contextmanager
    def conn_or_acquire(self: Any, client: Any = None) -> Iterator[Any]:
        """Lend a client."""
        if client:
            yield client
            return
        pool, kept = self.pool, self._kept
        if kept is None or kept[0] is not pool:  # a channel forgets its pool in a forked child, for one
            with super().conn_or_acquire() as made:  # type: ignore[misc]  # the channel's, beside which we stand
                kept = self._kept = pool, made
        yield kept[1]


@lru_cache
def keeping_client(transport: type) -> type | None:
    """A transport like another of kombu's for Redis, whose channels keep their client; None of any other."""
    channel: type | None = getattr(transport, "Channel", None)
    if channel is None or not hasattr(channel, "conn_or_acquire") or issubclass(channel, KeepsClient):
        return None
    keeps = type(channel.__name__, (KeepsClient, channel), {})
    return type(transport.__name__, (transport,), {"Channel": keeps})
