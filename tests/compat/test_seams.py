"""What tests of applications patch, and what public code touches although no page names it."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from typing import Any, ClassVar
from unittest.mock import AsyncMock, MagicMock, patch

import pytest
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

import fastapi_events.handlers
from fastapi_events import event_store, handler_store, in_req_res_cycle, middleware_identifier
from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.echo import EchoHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.typing import Event
from tests.asgi import responding


def test_dispatch_can_be_patched_underneath() -> None:
    with patch("fastapi_events.dispatcher._dispatch") as underneath:
        dispatch("hello", payload={"n": 1})
        dispatch("hello", {"n": 1}, middleware_id=5)
    underneath.assert_called_with(event_name="hello", payload={"n": 1})
    assert underneath.call_count == 2


def test_the_variables_can_be_patched() -> None:
    with (
        patch("fastapi_events.dispatcher.event_store") as store,
        patch("fastapi_events.dispatcher.in_req_res_cycle") as cycle,
    ):
        cycle.get.return_value = True
        store.get.return_value = deque()
        dispatch("hello", payload={"n": 1})
        assert store.get.return_value == deque([("hello", {"n": 1})])


def test_what_the_middleware_no_longer_calls_changes_nothing() -> None:
    handler = MagicMock(spec=BaseEventHandler)
    middleware = EventHandlerASGIMiddleware(responding(then=lambda: dispatch("hello")), [handler])

    with patch.object(EventHandlerASGIMiddleware, "_process_events", AsyncMock(), create=True) as gone:
        TestClient(middleware).get("/")

    gone.assert_not_called()
    assert [tuple(each) for each in handler.handle_many.call_args.kwargs["events"]] == [("hello", None)]


def test_a_scope_can_be_made_by_hand() -> None:
    events: deque[object] = deque()
    tokens = event_store.set(events), in_req_res_cycle.set(True)  # type: ignore[arg-type]
    try:
        dispatch("hello")
    finally:
        event_store.reset(tokens[0])
        in_req_res_cycle.reset(tokens[1])
    assert events == deque([("hello", None)])


def test_within_a_request_an_event_may_be_handled_at_once() -> None:
    order: list[str] = []

    class Noting(BaseEventHandler):
        async def handle(self, event: Event) -> None:
            order.append(str(event.name))

    async def endpoint(request: Request) -> JSONResponse:
        dispatch("later")
        token = in_req_res_cycle.set(False)
        dispatch("at once", middleware_id=7)
        in_req_res_cycle.reset(token)
        while not order:
            await asyncio.sleep(0)
        order.append("response")
        return JSONResponse({})

    app = EventHandlerASGIMiddleware(Starlette(routes=[Route("/", endpoint)]), [Noting()], middleware_id=7)
    TestClient(app).get("/")
    app.deregister_handlers()

    assert order == ["at once", "response", "later"]


def test_models_of_threads_reach_methods_as_they_are() -> None:
    class Progress(BaseModel):
        __event_name__: ClassVar[str] = "progress"

        step: int
        timestamp: float = Field(default_factory=time.time)

    class Sockets:
        def __init__(self) -> None:
            self.heard: list[tuple[str, Progress]] = []

        async def tell(self, event: tuple[str, Progress]) -> None:
            self.heard.append(event)

    handler, sockets = LocalHandler(), Sockets()
    for name in ("progress", "done"):
        handler.register(event_name=name, _func=sockets.tell)
    middleware = EventHandlerASGIMiddleware(responding(), [handler], middleware_id=8)
    sent = [Progress(step=number) for number in range(3)]

    async def main() -> None:
        queue: asyncio.Queue[Progress] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(lambda: [loop.call_soon_threadsafe(queue.put_nowait, each) for each in sent])
        for _ in sent:
            dispatch(await queue.get(), middleware_id=8, payload_schema_dump=False)
        while len(sockets.heard) < len(sent):
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 30))
    middleware.deregister_handlers()

    assert [name for name, _ in sockets.heard] == ["progress"] * 3
    assert all(heard is one for (_, heard), one in zip(sockets.heard, sent, strict=True))


def test_a_tracer_may_wrap_the_methods_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, str]] = []

    def wrap(cls: type[Any], method: str) -> None:
        wrapped = cls.__dict__.get(method)
        if wrapped is None:
            return

        async def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            called.append((cls.__name__, method))
            return await wrapped(self, *args, **kwargs)

        monkeypatch.setattr(cls, method, wrapper)

    modules = [each for _, each in inspect.getmembers(fastapi_events.handlers, inspect.ismodule)]
    classes = {each for module in modules for _, each in inspect.getmembers(module, inspect.isclass)}
    for cls in classes:
        if issubclass(cls, BaseEventHandler):
            wrap(cls, "handle")
            wrap(cls, "handle_many")
    echo = EchoHandler()
    TestClient(
        EventHandlerASGIMiddleware(responding(then=lambda: dispatch("a")), [echo, LocalHandler()])
    ).get("/")

    assert {
        ("BaseEventHandler", "handle_many"),
        ("EchoHandler", "handle"),
        ("LocalHandler", "handle_many"),
    } <= {*called}


def test_handling_at_once_can_be_patched() -> None:
    with patch("fastapi_events.dispatcher._dispatch_as_task") as at_once:
        dispatch("hello", payload={"n": 1}, middleware_id=5)
    at_once.assert_called_once_with("hello", {"n": 1})


def test_the_handlers_can_be_patched() -> None:
    handler = MagicMock(spec=BaseEventHandler, handle=AsyncMock())

    async def main() -> None:
        with (
            patch("fastapi_events.dispatcher._list_handlers", return_value=[handler]),
            patch("fastapi_events.dispatcher.middleware_identifier"),
        ):
            await asyncio.wait_for(asyncio.ensure_future(later()), 10)

    async def later() -> None:
        dispatch("hello")
        while not handler.handle.await_count:
            await asyncio.sleep(0)

    asyncio.run(main())
    handler.handle.assert_awaited_once_with(("hello", None))


def test_a_handler_may_be_a_mock() -> None:
    handler = MagicMock(spec=BaseEventHandler)
    handler.handle_many = AsyncMock()
    app = Starlette(routes=[Route("/", lambda request: _hello())])
    app.add_middleware(EventHandlerASGIMiddleware, handlers=[handler])

    TestClient(app).get("/")

    handler.handle_many.assert_awaited_once()
    assert list(handler.handle_many.await_args.kwargs["events"]) == [("hello", None)]


def _hello() -> JSONResponse:
    dispatch("hello")
    return JSONResponse({})


def test_an_unknown_key_of_the_handler_store_is_an_empty_list() -> None:
    assert handler_store[987_654_321] == []
    handler_store.pop(987_654_321)


def test_the_names_of_the_variables() -> None:
    assert middleware_identifier.name == "fastapi_middleware_identifier"
    assert in_req_res_cycle.get() is None
    with pytest.raises(LookupError):
        event_store.get()


class Collecting(BaseEventHandler):
    def __init__(self) -> None:
        self.events: list[object] = []

    async def handle(self, event: object) -> None:
        self.events.append(event)


def test_starlette_http_and_websocket_end_to_end() -> None:
    handler = Collecting()

    async def endpoint(request: Request) -> JSONResponse:
        dispatch("http")
        return JSONResponse({})

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            dispatch("websocket", payload=text)
            await websocket.send_text(text)

    app = Starlette(routes=[Route("/", endpoint), WebSocketRoute("/ws", socket)])
    app.add_middleware(EventHandlerASGIMiddleware, handlers=[handler])

    with TestClient(app) as client:
        client.get("/")
        with client.websocket_connect("/ws") as websocket:
            websocket.send_text("one")
            websocket.receive_text()
            websocket.send_text("two")
            websocket.receive_text()

    assert handler.events == [("http", None), ("websocket", "one"), ("websocket", "two")]
