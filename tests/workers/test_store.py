"""Where the handlers of `workers/` keep what must not get lost."""

from __future__ import annotations

from pathlib import Path

from fastapi_events.settings import Settings
from fastapi_events.storage.redis import RedisStore
from fastapi_events.storage.sqlalchemy import SqlStore
from workers.store import store_of


def test_the_handlers_of_a_process_share_one(tmp_path: Path) -> None:
    settings = Settings(store_url=f"sqlite:///{tmp_path / 'events.db'}")

    assert store_of(settings)["store"] is store_of(settings)["store"]


def test_where_nobody_names_a_place_there_is_none() -> None:
    assert store_of(Settings(store_url=None)) == {}


def test_a_redis_is_known_by_its_url() -> None:
    assert isinstance(store_of(Settings(store_url="redis://localhost:6379/5"))["store"], RedisStore)


def test_anything_else_is_a_database_which_brings_an_outbox(tmp_path: Path) -> None:
    store = store_of(Settings(store_url=f"sqlite:///{tmp_path / 'events.db'}"))["store"]

    assert isinstance(store, SqlStore)
    store.setup()
    assert store.outbox.status().waiting == 0
    store.close()
