"""Where the handlers keep what must not get lost, and what their workers tell each other."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from fastapi_events.settings import Settings

if TYPE_CHECKING:
    from fastapi_events.storage.redis import RedisStore
    from fastapi_events.storage.sqlalchemy import SqlStore


def store_of(settings: Settings) -> dict[str, Any]:
    """The handler's `store=`; nothing where nobody names one: then each engine keeps what it can.

    The tables of a database are made by `fastapi-events outbox setup workers.dramatiq`.
    """
    return {} if settings.store_url is None else {"store": _store(settings.store_url)}


@cache
def _store(url: str) -> RedisStore | SqlStore:
    """One for all handlers of a process: each of two would write what happens into its journal."""
    if url.startswith(("redis:", "rediss:", "unix:")):
        from fastapi_events.storage.redis import RedisStore

        return RedisStore(url)
    from fastapi_events.storage.sqlalchemy import SqlStore

    return SqlStore(url)
