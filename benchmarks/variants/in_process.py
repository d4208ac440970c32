"""Requests answered in this process: no server, no socket, only the ASGI call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from payload import NAME, PAYLOAD
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

App = Callable[..., Awaitable[None]]

SCHEMA_NAME = "cat-requested-a-described-fish"


@contextmanager
def bare() -> Iterator[Callable[[int], float]]:
    """Starlette, with one route."""
    with event_loop() as loop:
        app = _starlette(_nothing)
        loop.run_until_complete(_check(app))
        yield lambda operations: loop.run_until_complete(_serve(app, operations))


@contextmanager
def through_middleware(events: int, own: bool = False) -> Iterator[Callable[[int], float]]:
    """The same with the middleware around it, whose one handler does nothing.

    Parameters:
        own: Whether it is one that a user has written, rather than the package's.
    """
    with event_loop() as loop:
        app = wrapped(_endpoint(events), own=own)
        loop.run_until_complete(_check(app))
        yield lambda operations: loop.run_until_complete(_serve(app, operations))


@contextmanager
def the_least(events: int) -> Iterator[Callable[[int], float]]:
    """A limit: what the names fix that the world's code uses and patches, and nothing behind them.

    Three context variables a request; a `dispatch` of so many parameters, the look at the environment and for
    a schema, the function underneath, and the event.
    """
    from collections import deque

    from fastapi_events import context
    from fastapi_events.environment import dispatch_disabled
    from fastapi_events.event import new_event
    from fastapi_events.registry.payload_schema import registry

    event_store, in_req_res_cycle = context.event_store, context.in_req_res_cycle
    middleware_identifier = context.middleware_identifier

    def dispatch(
        event_name_or_model: Any = None,
        payload: Any = None,
        event_name: Any = None,
        validate_payload: bool = True,
        payload_schema_cls_dict_args: Any = None,
        payload_schema_registry: Any = None,
        middleware_id: int | None = None,
        payload_schema_dump: bool = True,
    ) -> None:
        name = event_name or event_name_or_model
        if validate_payload and registry.get(name) is None:
            underneath(event_name=name, payload=payload)

    def underneath(event_name: Any, payload: Any = None) -> None:
        if not dispatch_disabled() and in_req_res_cycle.get():
            event_store.get().append(new_event(event_name, payload))

    async def endpoint(request: Request) -> Response:
        for _ in range(events):
            dispatch(NAME, payload=PAYLOAD)
        return Response(status_code=204)

    inner = _starlette(endpoint)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        identifier, store = middleware_identifier.set(1), event_store.set(deque())
        cycle = in_req_res_cycle.set(True)
        try:
            await inner(scope, receive, send)
        finally:
            in_req_res_cycle.reset(cycle)
            event_store.reset(store)
            middleware_identifier.reset(identifier)

    with event_loop() as loop:
        loop.run_until_complete(_check(app))
        yield lambda operations: loop.run_until_complete(_serve(app, operations))


@contextmanager
def cost_of_event(events: int) -> Iterator[Callable[[int], float]]:
    """What one event with a schema adds to a request, as a difference within the round."""
    register_schema()
    with event_loop() as loop:
        without, with_events = wrapped(_endpoint(0)), wrapped(_endpoint(events, SCHEMA_NAME))

        async def run(operations: int) -> float:
            taken = 0.0
            for _ in range(operations):
                taken += await _serve(with_events, 10) - await _serve(without, 10)
            return taken / (10 * events)

        yield lambda operations: max(loop.run_until_complete(run(operations)), 1e-9)


def wrapped(endpoint: Callable[[Request], Awaitable[Response]], *, own: bool = False) -> App:
    """The endpoint's application within the middleware; both packages are typed the same."""
    from fastapi_events.handlers.base import BaseEventHandler
    from fastapi_events.handlers.null import NullHandler
    from fastapi_events.middleware import EventHandlerASGIMiddleware

    class Nothing(BaseEventHandler):
        async def handle(self, event: Any) -> None:
            pass

    return EventHandlerASGIMiddleware(_starlette(endpoint), handlers=[Nothing() if own else NullHandler()])


def register_schema() -> None:
    """Have payloads of `SCHEMA_NAME` validated."""
    from fastapi_events.registry.payload_schema import registry

    @registry.register(event_name=SCHEMA_NAME)
    class CatRequestedAFish(BaseModel):
        cat_id: int
        name: str
        fish: str
        requested_at: str
        urgent: bool


async def _nothing(request: Request) -> Response:
    return Response(status_code=204)


def _endpoint(events: int, name: str = NAME) -> Callable[[Request], Awaitable[Response]]:
    from fastapi_events.dispatcher import dispatch

    async def endpoint(request: Request) -> Response:
        for _ in range(events):
            dispatch(name, payload=PAYLOAD)
        return Response(status_code=204)

    return endpoint


def _starlette(endpoint: Callable[[Request], Awaitable[Response]]) -> App:
    return Starlette(routes=[Route("/", endpoint)])


async def _check(app: App) -> None:
    messages: list[Any] = []

    async def keep(message: Any) -> None:
        messages.append(message)

    await app(new_scope(), receive, keep)
    if messages[0]["status"] != 204:
        raise RuntimeError(messages)


async def _serve(app: App, requests: int) -> float:
    began = time.perf_counter()
    for _ in range(requests):
        await app(new_scope(), receive, send)
    return time.perf_counter() - began


def new_scope() -> dict[str, Any]:
    """A request as a server would announce it."""
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/",
        "raw_path": b"/", "query_string": b"", "root_path": "", "scheme": "http",
        "headers": [(b"host", b"cats.example")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    pass


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop, while the block runs."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        loop.close()
