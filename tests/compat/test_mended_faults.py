"""Each fault of the predecessor that we do not keep, by a test of its own that the predecessor fails.

Those that concern a single module are tested beside it; this file holds the rest, and says where they are:
SQS and Pub/Sub in handlers/, spans in otel/, schemas in registry/.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from enum import Enum
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import FastapiEventError
from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from tests.recording import Failing, Recorder


@pytest.fixture
def handler() -> LocalHandler:
    return LocalHandler()


@pytest.fixture
def client(handler: LocalHandler) -> TestClient:
    return client_with(handler)


def client_with(*handlers: BaseEventHandler) -> TestClient:
    app = FastAPI()
    app.add_middleware(EventHandlerASGIMiddleware, handlers=handlers)

    @app.get("/")
    def endpoint(name: str = "hello", fail: bool = False) -> None:
        dispatch(name, payload={"n": 1})
        if fail:
            raise KeyError("the endpoint's own")

    return TestClient(app)


def test_one_failing_handler_stops_no_sibling() -> None:
    recorder = Recorder()
    assert client_with(Failing(ValueError("no")), recorder).get("/").status_code == 200
    assert recorder.names == ["hello"]


def test_one_failing_function_stops_no_sibling(client: TestClient, handler: LocalHandler) -> None:
    heard: list[str] = []

    @handler.register
    def fails(event: Event) -> None:
        raise ValueError("no")

    handler.register(lambda event: heard.append("sibling"))
    assert client.get("/").status_code == 200
    assert heard == ["sibling"]


def test_a_handlers_error_does_not_replace_the_endpoints() -> None:
    with pytest.raises(KeyError, match="the endpoint's own"):
        client_with(Failing(ValueError("no"))).get("/", params={"fail": True})


def test_sync_functions_get_the_value_of_a_dependency(client: TestClient, handler: LocalHandler) -> None:
    seen: list[object] = []
    handler.register(lambda event, db=Depends(lambda: "session"): seen.append(db))
    client.get("/")
    assert seen == ["session"]


def test_annotated_dependencies_work(client: TestClient, handler: LocalHandler) -> None:
    seen: list[object] = []

    def session() -> str:
        return "session"

    @handler.register
    async def work(event: Event, db: Annotated[str, Depends(session)]) -> None:
        seen.append(db)

    client.get("/")
    assert seen == ["session"]


def test_yield_dependencies_hand_over_their_value_and_are_torn_down(
    client: TestClient, handler: LocalHandler
) -> None:
    log: list[object] = []

    def session() -> Iterator[str]:
        yield "session"
        log.append("closed")

    @handler.register
    def work(event: Event, db: str = Depends(session)) -> None:
        log.append(db)

    client.get("/")
    assert log == ["session", "closed"]


def test_a_dependency_is_called_once_an_event(client: TestClient, handler: LocalHandler) -> None:
    calls: list[int] = []

    def session() -> int:
        calls.append(1)
        return len(calls)

    def repository(db: int = Depends(session)) -> int:
        return db

    @handler.register
    def work(event: Event, a: int = Depends(session), b: int = Depends(repository)) -> None:
        assert a == b

    client.get("/")
    assert calls == [1]


def test_dispatch_works_inside_of_a_sync_function(client: TestClient, handler: LocalHandler) -> None:
    heard: list[object] = []

    @handler.register(event_name="hello")
    def chain(event: Event) -> None:
        dispatch("next")

    handler.register(lambda event: heard.append(event.name), event_name="next")
    with client:
        client.get("/")
    assert heard == ["next"]


class Cat(Enum):
    HELLO = "hello"


def test_an_enum_matches_by_its_value(handler: LocalHandler) -> None:
    heard: list[object] = []
    handler.register(lambda event: heard.append(event.name), event_name="hello")
    asyncio.run(handler.handle((Cat.HELLO, None)))  # type: ignore[arg-type]
    assert heard == [Cat.HELLO]


def test_the_payload_of_the_caller_is_not_written_into() -> None:
    app = FastAPI()
    app.add_middleware(EventHandlerASGIMiddleware, handlers=[Recorder()])
    payload = {"n": 1}

    @app.get("/")
    def endpoint() -> None:
        dispatch("hello", payload=payload)

    TestClient(app).get("/")
    assert payload == {"n": 1}


@pytest.mark.parametrize("payload", [5, "text", [1], (1, 2), 1.5, object()])
def test_payloads_need_not_be_dicts(handler: LocalHandler, payload: object) -> None:
    seen: list[object] = []
    handler.register(lambda event: seen.append(event.payload))
    asyncio.run(handler.handle(Event("hello", payload)))
    assert seen == [payload]


def test_errors_derive_from_exception() -> None:
    assert issubclass(FastapiEventError, Exception)


def test_tasks_are_kept_until_they_end(handler: LocalHandler) -> None:
    async def main() -> list[object]:
        heard: list[object] = []
        gate = asyncio.Event()

        @handler.register
        async def work(event: Event) -> None:
            await gate.wait()
            heard.append(event.name)

        middleware = EventHandlerASGIMiddleware(None, [handler], middleware_id=31)  # type: ignore[arg-type]
        dispatch("hello", middleware_id=31)
        await asyncio.sleep(0)
        gc.collect()
        gate.set()
        while not heard:
            await asyncio.sleep(0)
        middleware.deregister_handlers()
        return heard

    assert asyncio.run(asyncio.wait_for(main(), 10)) == ["hello"]
