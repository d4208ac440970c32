"""Which messages in Dramatiq's `QUEUE.XQ` are dead letters of ours."""

from __future__ import annotations

from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from fastapi_events.handlers.dramatiq.dead_queues import dead_queues
from fastapi_events.storage.memory import MemoryDeadLetters
from tests.places import dramatiq_on_redis


@pytest.mark.valkey
def test_what_an_actor_of_the_applications_own_has_given_up_is_left_to_it(valkey_url: str) -> None:
    with dramatiq_on_redis(valkey_url, dead_letters=MemoryDeadLetters()) as place:

        @dramatiq.actor(broker=place.broker, queue_name="events", max_retries=0)
        def own() -> None:
            raise ValueError("mine")

        # Given two that Dramatiq has rejected: an actor's of the application, and one of ours without a word
        own.send()
        place.settle()
        key = f"{place.broker.namespace}:events.XQ"
        message: Any = dramatiq.Message("events", "fastapi_events.fan_out", ("[]",), {}, {}, message_id="m1")
        place.broker.client.zadd(key, {"r1": 1})
        place.broker.client.hset(f"{key}.msgs", "r1", message.encode())
        place.broker.client.zadd(key, {"r2": 2})  # and one whose body has gone
        assert len(place.rejected()) == 2

        assert [each.subscription for each in place.handler.queued_letters()] == ["fastapi_events.fan_out"]
        assert sum(place.handler.adopt()) == 1
        assert [each.actor_name for each in place.rejected()] == ["own"]


@pytest.mark.valkey
def test_what_is_no_message_is_a_letter_to_nobody(valkey_url: str) -> None:
    letters = MemoryDeadLetters()
    with dramatiq_on_redis(valkey_url, dead_letters=letters) as place:
        key = f"{place.broker.namespace}:events.XQ"
        place.broker.client.zadd(key, {"r1": 1})
        place.broker.client.hset(f"{key}.msgs", "r1", b"no JSON")

        assert sum(place.handler.adopt()) == 1

        [letter] = letters.list()
        assert (letter.subscription, letter.argument) == ("fastapi_events.unreadable", "no JSON")
        assert place.handler.queued_letters() == []


def test_a_broker_in_memory_has_none_that_outlive_it() -> None:
    with dead_queues(StubBroker(), "dramatiq:events", ["events"], timeout=1.0, to_take=True) as queued:
        assert list(queued) == []


@pytest.mark.valkey
def test_however_many_there_are_each_is_taken(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastapi_events.handlers.dramatiq.dead_queues._PAGE", 2)
    letters = MemoryDeadLetters()
    with dramatiq_on_redis(valkey_url, dead_letters=letters) as place:
        key = f"{place.broker.namespace}:events.XQ"
        for number in range(7):
            text = f'{{"specversion":"1.0","id":"{number}","source":"shop","type":"cat"}}'
            message: Any = dramatiq.Message("events", "feed", (text,), {}, {}, message_id=f"m{number}")
            place.broker.client.zadd(key, {f"r{number}": number})
            place.broker.client.hset(f"{key}.msgs", f"r{number}", message.encode())
        place.handler.register(lambda event: None, name="feed")

        assert [each.event_id for each in place.handler.queued_letters()] == list("0123456")
        assert sum(place.handler.adopt()) == 7
        assert letters.count() == 7
        assert place.rejected() == []
