"""What is found in `QUEUE.dead` of a Celery app."""

from __future__ import annotations

from typing import Any

import pytest

from fastapi_events.handlers.celery import dead_queues
from fastapi_events.storage.memory import MemoryDeadLetters
from tests.places import celery_on_redis


@pytest.mark.valkey
def test_what_is_no_message_is_a_letter_to_nobody_and_hides_no_other(valkey_url: str) -> None:
    letters = MemoryDeadLetters()
    with celery_on_redis(valkey_url, dead_letters=letters) as place:
        place.handler.dead_letters.max_letters = 0

        @place.handler.register(event_name="cat", name="feed")
        def feed(event: Any) -> None:
            raise ValueError("no fish")

        place.dispatch("cat")
        client: Any = place.redis  # type: ignore[attr-defined]
        client.lpush(f"{place.prefix}events.dead", b"no JSON")
        letters.max_letters = 10

        assert [each.subscription for each in place.handler.queued_letters()] == [
            "feed",
            "fastapi_events.unreadable",
        ]
        assert sum(place.handler.adopt()) == 2
        assert client.llen(f"{place.prefix}events.dead") == 0
        assert {each.subscription for each in letters.list()} == {"feed", "fastapi_events.unreadable"}


@pytest.mark.valkey
def test_what_comes_while_they_are_read_and_removed_hides_none(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_queues, "_PAGE", 2)
    letters = MemoryDeadLetters()
    with celery_on_redis(valkey_url, dead_letters=letters) as place:
        client: Any = place.redis  # type: ignore[attr-defined]
        key = f"{place.prefix}events.dead"
        client.lpush(key, *(b"no JSON %d" % at for at in range(5)))

        with place.handler.engine.dead_queues(place.handler.name, ["events"], timeout=5.0) as queued:
            for at, each in enumerate(queued):
                client.lpush(key, b"new %d" % at) if at < 5 else None
                if at % 2:
                    queued.remove(each)

        assert at == 9
        assert client.llen(key) == 5
