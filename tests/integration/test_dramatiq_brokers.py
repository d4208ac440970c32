"""Dramatiq's workers while their broker is full, restarted, or given nonsense."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

from fastapi_events.dispatcher import dispatch
from fastapi_events.embedded import EmbeddedServer
from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
from fastapi_events.scope import collect_events
from fastapi_events.typing import Event
from tests.places import Dramatiq
from tests.processes import Project, until

pytestmark = pytest.mark.acceptance


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def place(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dramatiq]:
    """A worker in this process that looks for its broker more often than Dramatiq's does."""
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.1)
    monkeypatch.setattr("dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.1)
    client = redis.Redis.from_url(server.url, socket_timeout=2, retry=Retry(NoBackoff(), 0))
    place = Dramatiq(SafeRedisBroker(client=client))
    yield place
    place.close()
    client.close()


def send(place: Dramatiq, numbers: range) -> None:
    async def main() -> None:
        async with collect_events([place.handler]):
            for number in numbers:
                dispatch("hello", number)

    asyncio.run(main())


def listen(place: Dramatiq) -> set[int]:
    heard: set[int] = set()

    @place.handler.register(name="work")
    def work(event: Event) -> None:
        heard.add(event.payload)

    return heard


@pytest.mark.valkey
def test_workers_go_on_when_a_full_broker_has_room_again(place: Dramatiq, server: EmbeddedServer) -> None:
    heard = listen(place)
    send(place, range(20))
    # Given a server that takes no write, and a worker that can therefore not even fetch
    control = redis.Redis.from_url(server.url)
    control.config_set("maxmemory", 1)
    place.work()
    until(lambda: control.info("errorstats").get("errorstat_OOM"), "the refusal of a write")
    assert heard == set()
    # When there is room
    control.config_set("maxmemory", 0)
    until(lambda: heard == set(range(20)), "the handling of all events")
    place.settle()
    control.close()


@pytest.mark.valkey
def test_workers_go_on_when_their_broker_was_restarted(place: Dramatiq, server: EmbeddedServer) -> None:
    heard = listen(place)
    place.work()
    send(place, range(10))
    server.shutdown()
    server.startup()
    send(place, range(10, 20))
    until(lambda: heard == set(range(20)), "the handling of all events")
    place.settle()
    assert place.dead() == []


@pytest.mark.valkey
def test_a_retry_that_waits_in_a_killed_worker_is_made_by_another(project: Project) -> None:
    project.write(
        events="""
            import dramatiq
            from fastapi_events.handlers.dramatiq import DramatiqHandler
            from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker

            soon = {"heartbeat_timeout": 1_000, "maintenance_chance": 1_000_000}
            broker = SafeRedisBroker(url="redis://localhost:6379/0", **soon)
            dramatiq.set_broker(broker)
            events = DramatiqHandler(broker, flush_deadline=30.0)
        """,
        handlers="""
            import redis
            from app.events import events
            from fastapi_events.retry import RetryPolicy

            tell = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True).rpush

            @events.register(retry=RetryPolicy(max_retries=1, min_backoff=3, max_backoff=6))
            def work(event):
                if tell("tried", event.id) == 1:
                    raise ValueError("not yet")
                tell("done", event.id)
        """,
    )
    worker = project.worker()
    # From here: by the time that a script of its own had ended, the retry might have been made.
    sender = SafeRedisBroker(url=project.url)
    envelope = json.dumps({"specversion": "1.0", "id": "1", "type": "hello"})
    sender.enqueue(dramatiq.Message("events", "fastapi_events.fan_out", (envelope,), {}, {}))
    sender.client.close()
    delayed = "dramatiq:events.DQ"
    until(lambda: project.redis.hlen(f"{delayed}.msgs") and not project.redis.llen(delayed), "its fetch")
    project.kill_group(worker, signal.SIGKILL)
    project.wait(worker)
    project.worker()

    assert project.told("done")
    assert project.redis.llen("tried") == 2


@pytest.mark.rabbitmq
def test_on_rabbitmq_a_message_that_cannot_be_read_stands_in_no_ones_way(amqp_url: str) -> None:
    queue = f"q{uuid.uuid4().hex[:8]}"
    place = Dramatiq(RabbitmqBroker(url=amqp_url, confirm_delivery=True), queue=queue)
    broker: Any = place.broker
    heard = listen(place)
    broker.declare_queue(queue, ensure=True)
    broker.channel.basic_publish(exchange="", routing_key=queue, body=b"no json")
    for number in range(10):
        envelope = json.dumps({"specversion": "1.0", "id": str(number), "type": "hello", "data": number})
        broker.enqueue(dramatiq.Message(queue, f"fastapi_events.fan_out.{queue}", (envelope,), {}, {}))
    place.work()
    until(lambda: heard == set(range(10)), "the handling of the good ones")
    until(lambda: broker.get_queue_message_counts(queue)[2] == 1, "the dead letter")
    place.close()
