"""A store has every part, whatever it is made of, and each part can be used once it is set up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastapi_events.storage.base import Store
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.storage.redis import RedisStore
from fastapi_events.storage.sqlalchemy import SqlStore

PARTS = ("outbox", "inbox", "dead_letters", "lanes", "catalogue")


@pytest.fixture
def make(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Makes a store of a kind."""
    makers: dict[str, Callable[[], Any]] = {
        "memory": MemoryStore,
        "sqlite": lambda: SqlStore(f"sqlite:///{tmp_path / 'events.db'}"),
        "redis": lambda: RedisStore(request.getfixturevalue("valkey_url"), prefix=tmp_path.name),
    }
    return lambda kind: makers[kind]()


@pytest.mark.parametrize(
    ("kind", "without"),
    [("memory", set()), ("sqlite", set()), pytest.param("redis", {"outbox"}, marks=pytest.mark.valkey)],
    ids=["memory", "sqlite", "redis"],
)
def test_it_has_its_parts_and_is_set_up_closed_and_opened_as_a_whole(
    make: Callable[[str], Any], kind: str, without: set[str]
) -> None:
    store = make(kind)
    store.setup()
    store.setup()  # nothing is left to do
    store.check()

    assert {part for part in PARTS if getattr(store, part, None) is None} == without
    for part in set(PARTS) - without:
        assert isinstance(getattr(store, part), Store)
        getattr(store, part).check()
    assert store.dead_letters.count() == 0

    store.close()
    assert store.dead_letters.count() == 0  # the next call opens it again
    store.close()
