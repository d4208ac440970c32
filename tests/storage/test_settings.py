"""Settings of stores are checked on the line that makes the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fastapi_events.errors import InvalidSetting
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.storage.redis import RedisStore
from fastapi_events.storage.sqlalchemy import SqlStore


@pytest.mark.parametrize("name", ["max_entries", "max_letters", "max_items"])
@pytest.mark.parametrize("value", [-1, 1.5, "10", None, True], ids=repr)
def test_a_limit_is_a_whole_number_above_zero(name: str, value: Any) -> None:
    with pytest.raises(InvalidSetting, match=f"{name}=.*expected a whole number, 0 or more"):
        MemoryStore(**{name: value})


@pytest.mark.parametrize("make", [MemoryStore, partial(RedisStore, "redis://localhost")])
def test_every_store_has_the_same_checks(make: Callable[..., Any]) -> None:
    with pytest.raises(InvalidSetting, match="max_items=-1"):
        make(max_items=-1)


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "sqlite:///events.db", ""])
def test_a_url_of_something_else_than_redis_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(InvalidSetting, match="redis://localhost:6379/0"):
        RedisStore(url)


def test_an_error_about_a_url_does_not_show_its_password() -> None:
    with pytest.raises(InvalidSetting) as refused:
        RedisStore("reddis://me:secret@cache:6379")
    assert "secret" not in str(refused.value)
    assert "cache:6379" in str(refused.value)


@pytest.mark.parametrize("target", ["events.db", "", 3, None, Path("events.db")], ids=repr)
def test_what_is_no_url_of_a_database_is_refused_with_an_example(target: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"sqlite:///events\.db"):
        SqlStore(target)
