"""Every store of dead letters does what it has to, and a letter says when."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from fastapi_events.errors import StorageFull
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.redis import RedisStore, dead_letters, letter_search
from fastapi_events.storage.sqlalchemy import base
from fastapi_events.testing.contracts import DeadLettersContract


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand letters take seconds to add to a database."""
    monkeypatch.setattr(base, "BATCH", 50)
    monkeypatch.setattr(dead_letters, "PAGE", 50)
    monkeypatch.setattr(letter_search, "PAGE", 50)


class TestDeadLetters(DeadLettersContract):
    more_than_a_page = 51


def letter(id_: str, **more: Any) -> DeadLetter:
    now = datetime(2026, 7, 1, 12, tzinfo=UTC)
    values: dict[str, Any] = {
        "id": id_, "handler": "dramatiq:events", "subscription": "feed", "queue": "events", "event_id": None,
        "event_name": None, "argument": "{}", "reason": "", "traceback": "", "attempts": 1, "first_at": now,
        "last_at": now,
    }  # fmt: skip
    return DeadLetter(**values | more)


def test_there_is_a_limit(store: Any) -> None:
    letters = store.dead_letters
    where = getattr(store, "_database", getattr(store, "_server", None))
    limited = type(letters)(*([] if where is None else [where]), max_letters=2)
    limited.add(letter("1"))
    limited.add(letter("2"))
    with pytest.raises(StorageFull, match="2"):
        limited.add(letter("3"))
    limited.add(letter("2", attempts=9))
    limited.discard(["1"])
    limited.add(letter("3"))
    assert [each.id for each in limited.list()] == ["2", "3"]


def test_times_need_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        letter("1", first_at=datetime(2026, 1, 1))


@pytest.mark.valkey
def test_letters_that_redis_has_from_an_earlier_version_are_in_their_groups(
    valkey_url: str, tmp_path: Path
) -> None:
    prefix = tmp_path.name
    with closing(RedisStore(valkey_url, prefix=prefix)) as store:
        letters = store.dead_letters
        letters.add(letter("1", reason="ValueError: no fish", event_id="e1"))
        letters.add(letter("2", reason="ValueError: no dish", event_id="e2"))
        with closing(redis.Redis.from_url(valkey_url)) as client:
            [text] = client.hmget(f"{{{prefix}}}:dead:letters", "2")
            values = json.loads(text)
            group = values.pop("group")
            client.hset(f"{{{prefix}}}:dead:letters", "2", json.dumps(values))
            client.zrem(f"{{{prefix}}}:dead:group:dramatiq:events/{group}", "2")
            client.zrem(f"{{{prefix}}}:dead:events", "e2\n2")

        assert letters.count(group=group, handler="dramatiq:events") == 2
        assert [(each.id, each.count) for each in letters.groups()] == [(group, 2)]
        assert [each.id for each in letters.list(group=group)] == ["1", "2"]
        assert [each.id for each in letters.find("e2")] == ["2"]
        assert letters.discard(["1", "2"]) == 2
        assert letters.groups() == []
