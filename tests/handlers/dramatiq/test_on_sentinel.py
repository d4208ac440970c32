"""A client that Sentinel tells where the master is: events are published to whichever it is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.brokers.redis import RedisBroker
from redis.sentinel import Sentinel

from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
from tests.processes import until
from tests.sentinel import MASTER, Servers

PASSWORD = "secret"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path, stack, password=PASSWORD)


@pytest.fixture
def sentinel(servers: Servers) -> Iterator[Sentinel]:
    """One that takes connections and never answers, and after it the one that does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield Sentinel(
            [silent.getsockname()[:2], ("127.0.0.1", servers.sentinel)],
            sentinel_kwargs={"password": PASSWORD, "socket_timeout": 0.5},
            password=PASSWORD,
        )


@pytest.mark.valkey
def test_events_go_to_the_master_and_to_the_next_one_when_it_has_died(
    servers: Servers, sentinel: Sentinel
) -> None:
    handler = DramatiqHandler(
        RedisBroker(client=sentinel.master_for(MASTER)), queue="sentinel", flush_deadline=3.0
    )

    asyncio.run(handler.publish([Event("before")]))
    servers.client(servers.master).wait(1, 5_000)
    servers.kill_master()
    until(servers.has_failed_over, "another master")
    asyncio.run(handler.publish([Event("after")]))

    assert servers.client(servers.replica).llen("dramatiq:sentinel") == 2


@pytest.mark.valkey
def test_an_idle_worker_waits_at_the_next_master_when_the_first_has_died(servers: Servers) -> None:
    sentinel = Sentinel(
        [("127.0.0.1", servers.sentinel)],
        sentinel_kwargs={"password": PASSWORD},
        password=PASSWORD,
        socket_timeout=1.0,
    )
    broker = SafeRedisBroker(client=sentinel.master_for(MASTER))
    waits = lambda port: servers.client(port).info()["blocked_clients"] == 1  # noqa: E731
    consumer = broker.consume("events", timeout=100)
    until(lambda: next(consumer) is None and waits(servers.master), "the waiting")
    servers.kill_master()
    until(servers.has_failed_over, "another master")

    until(lambda: next(consumer) is None and waits(servers.replica), "the waiting at the other one")
    broker.enqueue(dramatiq.Message("events", "work", (1,), {}, {}))

    received: list[Any] = []
    until(lambda: received.append(next(consumer)) or received[-1] is not None, "the arrival")
    consumer.close()
    broker.client.close()


class OwnPool(redis.ConnectionPool):
    def __init__(self, place: str, **settings: Any) -> None:
        super().__init__(**settings)


def test_a_pool_that_cannot_be_made_once_more_is_refused_with_the_handler() -> None:
    broker = RedisBroker(client=redis.Redis(connection_pool=OwnPool("here")))

    with pytest.raises(ConfigurationError, match="OwnPool"):
        DramatiqHandler(broker)
