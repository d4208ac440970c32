"""`capture_events`: everything is recorded, nothing runs, no broker is asked."""

from __future__ import annotations

import asyncio
import socket
import threading
import unittest
from typing import Any

import httpx
import pytest
from dramatiq.brokers.redis import RedisBroker
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError, DelayTooLong, UnserialisablePayload
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.testing import capture_events
from tests.ports import free_port
from tests.recording import Failing, Recorder


@pytest.fixture
def queue() -> DramatiqHandler:
    """A handler whose broker nobody has started."""
    return DramatiqHandler(RedisBroker(url=f"redis://127.0.0.1:{free_port()}/0"))


def application(*handlers: Any, **settings: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(EventHandlerASGIMiddleware, handlers=list(handlers), **settings)

    @app.post("/orders")
    def place(order: dict[str, int]) -> None:
        dispatch("order-placed", {"number": order["n"]})
        if order["n"] < 0:
            raise HTTPException(400)

    return app


def test_what_a_request_dispatches_is_recorded_once_and_goes_nowhere(queue: DramatiqHandler) -> None:
    local = LocalHandler()
    local.register(lambda event: pytest.fail("it ran"))
    client = TestClient(application(queue, local, Failing(ValueError("it ran"))))

    with capture_events() as events:
        client.post("/orders", json={"n": 1})

    assert events == [("order-placed", {"number": 1})]


def test_an_application_that_starts_inside_asks_no_broker_either(
    queue: DramatiqHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("something connects"))
    with capture_events() as events, TestClient(application(queue)) as client:
        client.post("/orders", json={"n": 1})
    events.assert_dispatched_once("order-placed")


def test_requests_of_httpx_are_recorded(queue: DramatiqHandler) -> None:
    async def request() -> None:
        transport = httpx.ASGITransport(application(queue))
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            await client.post("/orders", json={"n": 1})

    with capture_events() as events:
        asyncio.run(request())
    events.assert_dispatched_once("order-placed", number=1)


def test_after_the_block_the_handlers_are_back() -> None:
    heard = Recorder()
    client = TestClient(application(heard))
    with capture_events() as events:
        client.post("/orders", json={"n": 1})
    client.post("/orders", json={"n": 2})
    assert heard.events == [("order-placed", {"number": 2})]
    assert events == [("order-placed", {"number": 1})]


def test_a_handler_that_was_stood_in_for_starts_when_it_is_used() -> None:
    started: list[str] = []

    class Starting(Recorder):
        async def on_startup(self) -> None:
            started.append("now")

    client = TestClient(application(Starting()))
    with capture_events():
        client.post("/orders", json={"n": 1})
        assert started == []
    client.post("/orders", json={"n": 2})
    client.post("/orders", json={"n": 3})
    assert started == ["now"]


def test_an_event_that_is_discarded_was_not_dispatched() -> None:
    client = TestClient(application(Recorder(), flush_when="success"))
    with capture_events() as events:
        client.post("/orders", json={"n": -1})
        client.post("/orders", json={"n": 1})
    assert events == [("order-placed", {"number": 1})]


def test_code_outside_of_any_scope_may_dispatch() -> None:
    with capture_events() as events:
        dispatch("hello")
        thread = threading.Thread(target=dispatch, args=("from a thread",))
        thread.start()
        thread.join()
    assert [name for name, _ in events] == ["hello", "from a thread"]
    with pytest.raises(LookupError, match="fastapi_middleware_identifier"):
        dispatch("nobody")


def test_a_payload_that_cannot_travel_is_refused_on_its_line(queue: DramatiqHandler) -> None:
    with capture_events() as events, collect_events([queue]), pytest.raises(UnserialisablePayload):
        dispatch("bad", {"at": object()})
    events.assert_not_dispatched()


def test_a_delay_and_a_key_that_the_handler_cannot_have_are_refused(queue: DramatiqHandler) -> None:
    with capture_events(), collect_events([queue]):
        with pytest.raises(DelayTooLong):
            dispatch("late", delay=10_000_000)
        with pytest.raises(ConfigurationError, match="ordering key"):
            dispatch("keyed", ordering_key="k")


def test_a_name_that_only_the_fleet_could_know_is_not_refused() -> None:
    broker = RedisBroker(url=f"redis://127.0.0.1:{free_port()}/0")
    strict = DramatiqHandler(broker, strict_names=True)
    with capture_events() as events, collect_events([strict]):
        dispatch("unknown")
    events.assert_dispatched("unknown")


def test_one_block_inside_of_another_records_for_both() -> None:
    with capture_events() as outer:
        dispatch("a")
        with capture_events() as inner:
            dispatch("b")
        dispatch("c")
    assert [name for name, _ in outer] == ["a", "b", "c"]
    assert [name for name, _ in inner] == ["b"]


class TestInUnittest(unittest.TestCase):
    def setUp(self) -> None:
        self.events = self.enterContext(capture_events())

    def test_it(self) -> None:
        dispatch("order-placed", {"number": 1})
        self.events.assert_dispatched_once("order-placed", number=1)


def test_nothing_of_it_reaches_the_journal() -> None:
    store = MemoryStore()
    queue = DramatiqHandler(RedisBroker(url="redis://127.0.0.1:1/0"), store=store, journal_payloads=True)
    with capture_events(), collect_events([queue]):
        dispatch("hello")
    asyncio.run(queue.on_shutdown())  # which writes what waits
    assert store.journal.events() == []
