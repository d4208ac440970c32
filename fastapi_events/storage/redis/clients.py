"""Clients of redis-py that are like another one, with connections of their own."""

from __future__ import annotations

from copy import copy
from typing import Any

import redis
from redis.sentinel import Sentinel, SentinelConnectionPool


def client_like(client: redis.Redis, **changes: Any) -> redis.Redis:
    """A client for the same server, with a pool of its own.

    Parameters:
        changes: Settings of its connections that shall be others; those to sentinels have them as well.

    Raises:
        TypeError: When its pool is of a kind that cannot be made once more.
    """
    pool = client.connection_pool
    # Handlers and registries belong to the pool that made them, as does what Sentinel's pool adds; the new
    # pool makes its own.
    settings = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if name not in ("maint_notifications_pool_handler", "himport_registry", "connection_pool")
    }
    settings.update(changes)
    if isinstance(pool, SentinelConnectionPool):
        settings.update(
            service_name=pool.service_name,
            sentinel_manager=_sentinels_like(pool.sentinel_manager, changes),
            is_master=pool.is_master,
            check_connection=pool.check_connection,
        )
    return redis.Redis(connection_pool=type(pool)(connection_class=pool.connection_class, **settings))


def _sentinels_like(sentinels: Sentinel, changes: dict[str, Any]) -> Sentinel:
    like = copy(sentinels)
    like.sentinels = [client_like(each, **changes) for each in sentinels.sentinels]
    return like
