"""Where trio runs the application, its events are handled all the same, on the process's loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.scope import collect_events, flush
from tests.asgi import call, responding
from tests.recording import Failing, Recorder


class Living(BaseEventHandler):
    persists_before_response = True

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def on_startup(self) -> None:
        await asyncio.sleep(0)
        self.calls.append("startup")

    async def on_shutdown(self) -> None:
        await asyncio.sleep(0)
        self.calls.append("shutdown")

    async def persist(self, events: Any) -> None:
        await asyncio.sleep(0)
        self.calls.append("persist")

    async def forget(self, events: Any) -> None:
        self.calls.append("forget")

    async def handle(self, event: Any) -> None:
        await asyncio.to_thread(lambda: None)
        self.calls.append(event[0])


def test_a_test_client_on_trio() -> None:
    handler, recorder, living = LocalHandler(), Recorder(), Living()
    heard: list[Any] = []

    @handler.register(event_name="http")
    async def asynchronous(event: Any) -> None:
        await asyncio.sleep(0)
        dispatch("caused")
        heard.append(event)

    @handler.register
    def synchronous(event: Any) -> None:
        heard.append(event)

    async def endpoint(request: Request) -> JSONResponse:
        assert trio.lowlevel.current_task()
        dispatch("http")
        return JSONResponse({})

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            dispatch("websocket", payload=text)
            await websocket.send_text(text)

    app = Starlette(routes=[Route("/", endpoint), WebSocketRoute("/ws", socket)])
    app.add_middleware(EventHandlerASGIMiddleware, handlers=[handler, recorder, living])

    with TestClient(app, backend="trio") as client:
        assert client.get("/").status_code == 200
        assert "http" in recorder.names
        assert living.calls[:2] == ["startup", "persist"]
        assert "http" in living.calls
        with client.websocket_connect("/ws") as websocket:
            websocket.send_text("one")
            websocket.receive_text()

    assert sorted(recorder.names) == ["caused", "http", "websocket"]
    assert ("caused", None) in heard
    assert living.calls[-1] == "shutdown"


@pytest.mark.parametrize("flush_early", [True, False])
def test_a_block_run_by_trio(flush_early: bool) -> None:
    threads: list[int] = []

    class Here(BaseEventHandler):
        async def handle(self, event: Any) -> None:
            await asyncio.sleep(0)
            threads.append(threading.get_ident())

    async def main() -> None:
        async with collect_events([Here(), Recorder()]):
            dispatch("a")
            if flush_early:
                await flush()
                assert len(threads) == 1
        assert len(threads) == 1

    trio.run(main)
    assert threads != [threading.get_ident()]


def test_errors_are_raised_where_it_is_asked_for() -> None:
    async def main() -> None:
        async with collect_events([Failing(ValueError("no")), Recorder()], raise_errors=True):
            dispatch("a")

    with pytest.raises(ValueError, match="no"):
        trio.run(main)


def test_a_request_that_is_cancelled_does_not_cut_off_its_events() -> None:
    handled = threading.Event()
    begun = threading.Event()

    class Slow(BaseEventHandler):
        async def handle(self, event: Any) -> None:
            begun.set()
            await asyncio.sleep(0.1)
            handled.set()

    app = EventHandlerASGIMiddleware(responding(then=lambda: dispatch("a")), [Slow(), Recorder()])

    async def main() -> None:
        with trio.fail_after(10), trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, app)
                while not begun.is_set():
                    await trio.sleep(0.01)
                scope.cancel()

    trio.run(main)
    assert handled.wait(10)


def test_without_any_loop_it_says_what_is_needed() -> None:
    coroutine = call(EventHandlerASGIMiddleware(responding(), []))
    with pytest.raises(RuntimeError, match="a server on asyncio or trio"):
        coroutine.send(None)
