"""Every store of dead letters does what it has to, and a letter says when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fastapi_events.errors import StorageFull
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.testing.contracts import DeadLettersContract


class TestDeadLetters(DeadLettersContract):
    pass


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
