"""What holds for a search in Celery's queues beyond what holds for every engine."""

from __future__ import annotations

from typing import Any

import celery
import pytest

from fastapi_events.handlers.celery import CeleryHandler, queue_search
from tests.places import celery_on_redis


@pytest.mark.valkey
def test_no_more_is_looked_at_than_so_many_and_that_is_said(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_search, "MOST_MESSAGES", 2)
    with celery_on_redis(valkey_url) as place:
        client: Any = place.redis  # type: ignore[attr-defined]
        client.lpush(f"{place.prefix}events", "no message", "{}", "[]")
        client.hset(f"{place.prefix}unacked", mapping={str(at): "no message" for at in range(3)})

        found = place.handler.engine.search(["events"], "a", timeout=5.0)

    assert found.found == []
    assert [each.partition(", ")[0] for each in found.unseen] == [
        "of the 3 messages of events",
        "of the 3 messages of what workers have taken",
    ]


def test_other_brokers_show_nothing_and_a_handler_that_runs_in_place_has_no_queue() -> None:
    handler = CeleryHandler(celery.Celery(broker="memory://", set_as_current=False))
    [unseen] = handler.engine.search(["events"], "a", timeout=5.0).unseen
    assert unseen.startswith("events: a broker of kind 'memory' shows no message")

    eager = celery.Celery(broker="memory://", set_as_current=False)
    eager.conf.task_always_eager = True
    assert CeleryHandler(eager).engine.search(["events"], "a", timeout=5.0).unseen == []
