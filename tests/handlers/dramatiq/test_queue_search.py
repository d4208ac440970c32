"""What holds for a search in Dramatiq's queues beyond what holds for every engine."""

from __future__ import annotations

import uuid
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker

from fastapi_events.handlers.dramatiq import queue_search
from fastapi_events.handlers.dramatiq.queue_search import search


@pytest.mark.valkey
def test_no_more_is_looked_at_than_so_many_and_that_is_said(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_search, "MOST_MESSAGES", 2)
    broker: Any = RedisBroker(url=valkey_url, namespace=f"test-{uuid.uuid4()}")
    key = f"{broker.namespace}:events.msgs"
    broker.client.hset(key, mapping={str(at): "no message" for at in range(3)})

    found = search(broker, ["events"], "a", timeout=5.0)

    assert found.found == []
    assert found.unseen[0].startswith("of the 3 messages of events, ")
    broker.client.delete(key)


def test_a_server_that_is_away_is_told_soon() -> None:
    broker: Any = RedisBroker(url="redis://127.0.0.1:1/0")

    with pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
        search(broker, ["events"], "a", timeout=1.0)


def test_of_a_broker_that_is_unknown_nothing_is_known() -> None:
    assert search(dramatiq.Broker(), ["events"], "a", timeout=1.0).unseen == [
        "events: nobody can look into a Broker"
    ]
