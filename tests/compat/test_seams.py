"""What tests of applications patch, and what public code touches although no page names it."""

from __future__ import annotations

import asyncio
from collections import deque
from unittest.mock import AsyncMock, MagicMock, patch

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from fastapi_events import event_store, handler_store, in_req_res_cycle, middleware_identifier
from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
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
