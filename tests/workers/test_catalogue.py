"""Where the workers of `workers/` find each other."""

from __future__ import annotations

from pathlib import Path

from fastapi_events.settings import Settings
from fastapi_events.storage.redis.catalogue import RedisCatalogue
from fastapi_events.storage.sqlalchemy.catalogue import SqlCatalogue
from workers.catalogue import catalogue_of


def test_where_nobody_names_a_place_it_is_the_brokers() -> None:
    assert catalogue_of(Settings(catalogue_url=None)) == {}


def test_a_redis_is_known_by_its_url() -> None:
    found = catalogue_of(Settings(catalogue_url="redis://localhost:6379/5"))["catalogue"]

    assert isinstance(found, RedisCatalogue)


def test_anything_else_is_a_database_whose_table_is_made(tmp_path: Path) -> None:
    found = catalogue_of(Settings(catalogue_url=f"sqlite:///{tmp_path / 'fleet.db'}"))["catalogue"]

    assert isinstance(found, SqlCatalogue)
    assert found.read("dramatiq:events").listings == ()
    found.close()
