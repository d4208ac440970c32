"""Where the handlers keep what must not get lost, and what their workers tell each other."""

from __future__ import annotations

from typing import Any

from fastapi_events.settings import Settings


def store_of(settings: Settings) -> dict[str, Any]:
    """The handler's `store=`; nothing where nobody names one: then each engine keeps what it can.

    The tables of a database are made by `fastapi-events outbox setup workers.dramatiq`.
    """
    url = settings.store_url
    if url is None:
        return {}
    if url.startswith(("redis:", "rediss:", "unix:")):
        from fastapi_events.storage.redis import RedisStore

        return {"store": RedisStore(url)}
    from fastapi_events.storage.sqlalchemy import SqlStore

    return {"store": SqlStore(url)}
