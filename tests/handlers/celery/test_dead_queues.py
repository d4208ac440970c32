"""What is found in `QUEUE.dead` of a Celery app."""

from __future__ import annotations

from typing import Any

import pytest

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
