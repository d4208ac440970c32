"""Depths of Dramatiq's queues, beyond what holds for every engine."""

from __future__ import annotations

from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker

from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.depth import depths


@pytest.mark.valkey
def test_a_message_of_another_program_is_counted_and_has_no_age(valkey_url: str) -> None:
    broker: Any = RedisBroker(url=valkey_url, namespace="foreign-depth")
    broker.client.hset("foreign-depth:events.msgs", "id", "no message")
    broker.client.rpush("foreign-depth:events", "id")

    [found] = depths(broker, ["events"], timeout=5.0)

    assert (found.ready, found.in_hand, found.oldest) == (1, 0, None)
    broker.client.delete("foreign-depth:events", "foreign-depth:events.msgs")


def test_a_server_that_is_away_is_told_soon() -> None:
    broker: Any = RedisBroker(url="redis://127.0.0.1:1/0")

    with pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
        depths(broker, ["events"], timeout=1.0)


def test_of_a_broker_that_is_unknown_nothing_is_known() -> None:
    [found] = depths(dramatiq.Broker(), ["events"], timeout=1.0)

    assert (found.queue, found.ready) == ("events", None)


def test_a_handler_asks_for_its_own() -> None:
    handler = DramatiqHandler(StubBroker())

    [found] = handler.engine.depths(["events"], timeout=1.0)

    assert (found.ready, found.dead) == (0, 0)
