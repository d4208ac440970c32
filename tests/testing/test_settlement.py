"""`settle` waits for real brokers and workers, and says what is left when it takes too long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dramatiq.brokers.stub import StubBroker

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.testing import settle
from fastapi_events.typing import Event
from tests.places import (
    QueuePlace,
    celery_on_rabbitmq,
    celery_on_redis,
    dramatiq_on_rabbitmq,
    dramatiq_on_redis,
)


@pytest.fixture(
    params=[
        pytest.param((dramatiq_on_redis, "valkey_url"), marks=pytest.mark.valkey, id="dramatiq-redis"),
        pytest.param((celery_on_redis, "valkey_url"), marks=pytest.mark.valkey, id="celery-redis"),
        pytest.param((dramatiq_on_rabbitmq, "amqp_url"), marks=pytest.mark.rabbitmq, id="dramatiq-rabbitmq"),
        pytest.param((celery_on_rabbitmq, "amqp_url"), marks=pytest.mark.rabbitmq, id="celery-rabbitmq"),
    ]
)
def place(request: pytest.FixtureRequest) -> Iterator[QueuePlace]:
    make, server = request.param
    with make(request.getfixturevalue(server), store=MemoryStore(), catalogue=None) as place:
        yield place


async def publish(handler: TaskQueueHandler, *names: str) -> None:
    async with collect_events([handler]):
        for name in names:
            dispatch(name)


def test_it_waits_for_chains_and_retries_and_dead_letters(place: QueuePlace) -> None:
    done: list[str] = []

    @place.handler.register(event_name="first", name="first")
    def first(event: Event) -> None:
        done.append("first")
        if done.count("first") == 1:
            raise ConnectionError("again")
        dispatch("second")

    @place.handler.register(event_name="second", name="second")
    async def second(event: Event) -> None:
        await asyncio.sleep(0.05)
        done.append("second")

    @place.handler.register(event_name="first", name="hopeless")
    def hopeless(event: Event) -> None:
        raise ValueError("never")

    place.work()

    async def test() -> None:
        await publish(place.handler, "first")
        await settle(place.handler, timeout=30)

    asyncio.run(test())
    assert sorted(done) == ["first", "first", "second"]
    assert [each.subscription for each in place.handler.dead_letters.list()] == ["hopeless"]


def test_it_says_what_is_left_after_its_time(place: QueuePlace) -> None:
    begun, finish = threading.Event(), threading.Event()

    @place.handler.register(event_name="slow", name="slow")
    def slow(event: Event) -> None:
        begun.set()
        finish.wait(60)

    place.work()

    async def test() -> None:
        await publish(place.handler, "slow")
        await asyncio.to_thread(begun.wait, 30)
        with pytest.raises(TimeoutError, match=r"Not settled after 1\.5 s: .*(1 in hand|slow)"):
            await settle(place.handler, timeout=1.5)
        finish.set()
        await settle(place.handler, timeout=30)

    try:
        asyncio.run(test())
    finally:
        finish.set()


def test_what_waits_in_the_outbox_counts(valkey_url: str) -> None:
    with dramatiq_on_redis(valkey_url, store=MemoryStore(), catalogue=None, relay=False) as place:
        place.handler.register(lambda event: None, name="f")

        async def test() -> None:
            async with collect_events([place.handler]):
                dispatch("late", delay=3_600)
            with pytest.raises(TimeoutError, match="the outbox has 1"):
                await settle(place.handler, timeout=0.5)

        asyncio.run(test())


def test_a_broker_that_does_not_tell_is_named() -> None:
    handler = DramatiqHandler(StubBroker())
    with pytest.raises(ConfigurationError, match=r"broker\.join\(\) and worker\.join\(\) instead"):
        asyncio.run(settle(handler))


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"timeout": "5"}], ids=["zero", "text"])
def test_wrong_input_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        asyncio.run(settle(DramatiqHandler(StubBroker()), **wrong))
    with pytest.raises(ConfigurationError, match="expected a TaskQueueHandler"):
        asyncio.run(settle(Path()))  # type: ignore[arg-type]
