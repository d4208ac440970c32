"""A Celery worker lives through the end of its Redis server, with a task in its hands."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from fastapi_events.embedded import EmbeddedServer
from tests.ports import free_port
from tests.processes import Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

EVENTS = """
    from celery import Celery
    from fastapi_events.handlers.celery import CeleryHandler
    from fastapi_events.retry import RetryPolicy

    broker = Celery("app", broker={url!r})
    broker.conf.update(
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport="fastapi_events.handlers.celery.redis_transport:Transport",
        broker_transport_options={{
            "visibility_timeout": 5, "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
            "socket_timeout": 5, "socket_connect_timeout": 2,
        }},
        worker_prefetch_multiplier=1,
    )
    events = CeleryHandler(broker, retry=RetryPolicy(max_backoff=1.0))
"""

HANDLERS = """
    import os
    import time
    import redis
    from app.events import broker, events
    from fastapi_events.typing import Event

    client = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True)

    @events.register(event_name="slow", name="slow")
    def slow(event: Event) -> None:
        client.rpush("started", os.getpid())
        while not client.exists("gate"):
            time.sleep(0.02)
        client.rpush("finished", event.id)

    @events.register(event_name="hello", name="hello")
    def hello(event: Event) -> None:
        client.rpush("handled", event.payload)
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A broker beside the server through which the test is told things."""
    with EmbeddedServer(tmp_path / "broker", port=free_port()) as server:
        yield server


def kill(server: EmbeddedServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(30) == -signal.SIGKILL


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_survives_its_server_while_it_works(
    project: Project, broker: EmbeddedServer, pool: str
) -> None:
    # Given: a worker in the middle of a task that it has not acknowledged
    project.write(events=EVENTS.format(url=broker.url), handlers=HANDLERS)
    worker = project.start(
        "celery", "-A", "app.handlers", "worker", "--pool", pool, "--concurrency", "2", "--loglevel", "INFO"
    )
    project.dispatch("slow")
    project.told("started")

    # When: the server is killed, the worker notices, and the server is started again
    kill(broker)
    until(lambda: "Connection to broker lost" in project.logs(), "the worker's loss of its connection")
    until(lambda: "Cannot connect to" in project.logs(), "the worker's attempt to connect")
    broker.startup()
    project.redis.set("gate", "open")

    # Then: the worker is alive, its task done, and it goes on
    assert project.told("finished")
    project.dispatch("hello", 1)
    assert project.told("handled") == "1"
    assert worker.poll() is None, project.logs()
    left = redis.Redis.from_url(broker.url)
    until(lambda: left.hlen("unacked") == 0, "an empty broker")
    left.close()
