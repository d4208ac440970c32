"""The health of a queue handler, as the web process sees it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import celery
import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from fastapi_events.embedded import EmbeddedServer
from fastapi_events.errors import NotPublished, StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.handlers.task_queue.health import Health
from fastapi_events.storage.memory import MemoryOutbox
from fastapi_events.storage.outbox import OutboxStatus
from tests.handlers.task_queue.broker import ListEngine, ListHandler
from tests.ports import free_port
from tests.processes import until


def health(handler: TaskQueueHandler) -> Health:
    return asyncio.run(handler.health())


class Away(ListEngine):
    """A broker that does not answer."""

    def ping(self, *, timeout: float) -> None:
        raise ConnectionError("redis://user:secret@host is away")


class Hanging(ListEngine):
    """A broker that takes connections, and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def ping(self, *, timeout: float) -> None:
        self.go_on.wait(60)


class Broken(MemoryOutbox):
    def status(self) -> OutboxStatus:
        raise StorageError("the disk is gone")


def test_a_handler_whose_broker_answers_is_ready() -> None:
    found = health(ListHandler())

    assert found == Health(
        handler="list:events", is_ready=True, broker="reachable", breaker="closed", pending=0, outbox=None,
        relay=None, problems=(),
    )  # fmt: skip


def test_without_its_broker_it_is_not_ready_and_names_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    handler = ListHandler(Away())

    with caplog.at_level(logging.WARNING):
        found, again = health(handler), health(handler)

    assert not found.is_ready
    assert found.broker == "unreachable"
    assert found.problems == again.problems == ("the broker does not answer: ConnectionError",)
    assert "secret" not in json.dumps(asdict(found))
    [record] = caplog.records
    assert record.message.endswith("does not answer: ConnectionError: redis://user:secret@host is away")


def test_with_an_outbox_it_stays_ready_without_its_broker() -> None:
    found = health(ListHandler(Away(), outbox=MemoryOutbox(), relay=False))

    assert found.is_ready
    assert found.broker == "unreachable"
    assert found.problems == ("the broker does not answer: ConnectionError",)


def test_with_neither_it_is_not_ready() -> None:
    found = health(ListHandler(Away(), outbox=Broken(), relay=False))

    assert not found.is_ready
    assert found.outbox is None
    assert found.problems[1:] == ("the outbox does not answer: StorageError",)
    assert health(ListHandler(outbox=Broken(), relay=False)).is_ready


def test_a_broker_that_hangs_is_waited_for_until_the_deadline() -> None:
    engine = Hanging()
    handler = ListHandler(engine, flush_deadline=0.05)
    try:
        found = health(handler)
    finally:
        engine.go_on.set()

    assert found.problems == ("the broker does not answer within 0.05 s",)


def test_it_shows_what_the_outbox_holds_and_how_old_it_is() -> None:
    outbox = MemoryOutbox()
    handler = ListHandler(outbox=outbox, relay=False)
    empty = health(handler).outbox
    assert empty is not None
    assert (empty.waiting, empty.oldest) == (0, None)

    handler.refusing = ConnectionError("away")
    asyncio.run(handler.handle(Event("late")))

    found = health(ListHandler(outbox=outbox, relay=False)).outbox
    assert found is not None
    assert found.waiting == 1
    assert found.oldest is not None
    assert 0 <= found.oldest < 60


def test_it_hears_of_the_relay_of_this_process() -> None:
    async def live() -> tuple[Health, Health]:
        handler = ListHandler(outbox=MemoryOutbox())
        await handler.on_startup()
        running = await handler.health()
        await handler.on_shutdown()
        return running, await handler.health()

    running, ended = asyncio.run(live())

    assert running.relay is not None
    assert running.relay < 30
    assert ended.relay is None


def test_an_open_breaker_is_a_problem_and_no_reason_to_send_no_more_requests() -> None:
    handler = ListHandler()
    handler.refusing = ConnectionError("away")
    for _ in range(3):
        with pytest.raises(NotPublished):
            asyncio.run(handler.handle(Event("hello")))

    found = health(handler)

    assert found.breaker == "open"
    assert found.is_ready
    assert found.problems == ("the last flushes did not reach the broker",)


class Stuck(ListEngine):
    """A broker that takes a message, and then does not return."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def send(self, messages: Any, *, timeout: float | None = None) -> None:
        self.go_on.wait(60)


def test_a_full_buffer_is_not_ready() -> None:
    engine = Stuck()
    handler = ListHandler(engine, max_pending_events=1, flush_deadline=30)

    async def fill() -> Health:
        flushes = [asyncio.create_task(handler.handle(Event("hello")))]
        while not handler._outlet.publisher._thread._sending:  # else it would fill the buffer itself
            await asyncio.sleep(0.001)
        flushes.append(asyncio.create_task(handler.handle(Event("hello"))))
        while handler._outlet.publisher.pending < 1:
            await asyncio.sleep(0.001)
        found = await handler.health()
        engine.go_on.set()
        await asyncio.gather(*flushes)
        return found

    found = asyncio.run(fill())

    assert not found.is_ready
    assert found.pending == 1
    assert found.problems == ("1 event waiting for the broker, the limit of the buffer",)


# Real brokers


def app_on(url: str) -> celery.Celery:
    return celery.Celery("test", broker=url, set_as_current=False)


@pytest.mark.valkey
def test_it_asks_redis(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path, port=free_port()) as server:
        handlers: list[TaskQueueHandler] = [
            DramatiqHandler(SafeRedisBroker(url=server.url)),
            CeleryHandler(app_on(server.url)),
        ]
        assert [health(each).broker for each in handlers] == ["reachable"] * 2
    for each in handlers:
        until(lambda each=each: health(each).broker == "unreachable", "that its end is noticed")


@pytest.mark.rabbitmq
def test_it_asks_rabbitmq(amqp_url: str) -> None:
    for handler in (
        DramatiqHandler(RabbitmqBroker(url=amqp_url, confirm_delivery=True)),
        CeleryHandler(app_on(amqp_url)),
    ):
        assert health(handler).broker == "reachable"
    nowhere = "amqp://guest:guest@127.0.0.1:1//"
    for handler in (
        DramatiqHandler(RabbitmqBroker(url=nowhere, confirm_delivery=True)),
        CeleryHandler(app_on(nowhere)),
    ):
        assert health(handler).broker == "unreachable"
