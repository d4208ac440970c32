"""Where the workers of a handler find each other."""

from __future__ import annotations

from typing import Any

from fastapi_events.settings import Settings


def catalogue_of(settings: Settings) -> dict[str, Any]:
    """The handler's `catalogue=`; nothing where nobody names one: on Redis it is in the broker."""
    url = settings.catalogue_url
    if url is None:
        return {}
    if url.startswith(("redis:", "rediss:", "unix:")):
        from fastapi_events.storage.redis import RedisStore

        return {"catalogue": RedisStore(url).catalogue}
    from fastapi_events.storage.sqlalchemy import SqlStore

    store = SqlStore(url)
    store.setup()
    return {"catalogue": store.catalogue}
