"""Settings of stores are checked on the line that makes the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from fastapi_events.errors import InvalidSetting
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.storage.redis import RedisStore
from fastapi_events.storage.sqlalchemy import SqlStore

on_sqlite = partial(SqlStore, "sqlite:////tmp/never-made.db")


@pytest.mark.parametrize("name", ["max_entries", "max_letters", "max_items"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", None, True], ids=repr)
def test_a_limit_is_a_whole_number_above_zero(name: str, value: Any) -> None:
    with pytest.raises(InvalidSetting, match=f"{name}=.*expected a whole number, 1 or more"):
        MemoryStore(**{name: value})


@pytest.mark.parametrize("make", [MemoryStore, partial(RedisStore, "redis://localhost")])
def test_every_store_has_the_same_checks(make: Callable[..., Any]) -> None:
    with pytest.raises(InvalidSetting, match="max_items=-1"):
        make(max_items=-1)


@pytest.mark.parametrize("make", [MemoryStore, partial(RedisStore, "redis://localhost"), on_sqlite])
def test_an_unknown_setting_is_answered_with_the_one_that_was_meant(make: Callable[..., Any]) -> None:
    with pytest.raises(
        InvalidSetting, match=r"Store: unknown parameter 'max_item'; did you mean 'max_items'\?"
    ):
        make(max_item=5)
    with pytest.raises(InvalidSetting, match="clock=5: expected a function"):
        make(clock=5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"synchronous": "FUL"}, r"synchronous='FUL': expected 'NORMAL' or 'FULL'; did you mean 'FULL'\?"),
        ({"busy_timeout": "5s"}, "busy_timeout='5s': expected a number of seconds"),
        ({"busy_timeout": -1}, "busy_timeout=-1: expected a number of seconds"),
        ({"max_page_count": 0}, "max_page_count=0: expected a whole number, 1 or more"),
    ],
)
def test_how_a_sqlite_file_is_used_is_checked(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidSetting, match=says):
        on_sqlite(**settings)


@pytest.mark.parametrize("target", [5, None, redis.asyncio.Redis()], ids=["number", "none", "asyncio"])
def test_what_is_no_client_of_redis_is_refused(target: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"expected a URL, such as redis://localhost:6379/0, or a"):
        RedisStore(target)
    with pytest.raises(InvalidSetting, match="prefix='': expected a text"):
        RedisStore("redis://localhost", prefix="")


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
