"""Clients of redis-py that are like another one, with connections of their own."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool


def client_like(client: redis.Redis, **changes: Any) -> redis.Redis:
    """A client for the same server, with a pool of its own.

    Parameters:
        changes: Settings of its connections that shall be others. Those to sentinels have them as well, but
            share a `socket_timeout`.

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
    own = type(pool)(connection_class=pool.connection_class, **settings)
    return redis.Redis.from_pool(own)  # which it closes with itself


def sentinel_bounds(own: Mapping[str, Any], timeout: float, sentinels: int) -> dict[str, Any]:
    """Settings of connections to sentinels, so that the last one can answer where the others are away.

    redis-py asks one after the other. By default it asks each several times, and waits in between.

    Parameters:
        own: What they are set to; a shorter time stays.
        timeout: Seconds for all of them, and for the server to which they lead.
        sentinels: How many there are.
    """
    share = timeout / (sentinels + 1)
    times = {
        name: min(own.get(name) or share, share) for name in ("socket_timeout", "socket_connect_timeout")
    }
    return {**times, "retry": Retry(NoBackoff(), 0)}


def _sentinels_like(sentinels: Sentinel, changes: dict[str, Any]) -> Sentinel:
    timeout, number = changes.get("socket_timeout"), len(sentinels.sentinels)

    def like_it(each: redis.Redis) -> redis.Redis:
        own = each.connection_pool.connection_kwargs
        bounds = {} if timeout is None else sentinel_bounds(own, timeout, number)
        return client_like(each, **{**changes, **bounds})

    like = copy(sentinels)
    like.sentinels = [like_it(each) for each in sentinels.sentinels]
    return like
