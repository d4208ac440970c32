"""Requests whose events are in an outbox before their response goes out, and such whose are not."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from in_process import event_loop, new_scope, receive
from payload import NAME, PAYLOAD
from publishing import our_handler

App = Callable[..., Awaitable[None]]

_AT_ONCE = 64


@contextmanager
def alone(url: str, database: str) -> Iterator[Callable[[int], dict[str, float]]]:
    """Seconds that it adds to a request, at the median: one request with and one without, in turn."""
    with event_loop() as loop, _store(database) as store:
        handlers = [our_handler(url, "dramatiq", **each)[0] for each in _settings(store)]
        apps = [_app(each) for each in handlers]

        async def measure(requests: int) -> dict[str, float]:
            taken: list[list[float]] = [[] for _ in apps]
            for _ in range(requests):
                for app, times in zip(apps, taken, strict=True):
                    times.append(await _until_response(app))
            without, durable = map(statistics.median, taken)
            return {"seconds": durable, "added": durable - without}

        yield lambda requests: loop.run_until_complete(measure(requests))
        for handler in handlers:
            loop.run_until_complete(handler.on_shutdown())


@contextmanager
def at_once(url: str, database: str, durable: bool) -> Iterator[Callable[[int], float]]:
    """Seconds until so many requests are answered and their events published, 64 at a time."""
    with event_loop() as loop, _store(database) as store:
        handler, _ = our_handler(url, "dramatiq", **_settings(store)[durable])
        app = _app(handler)

        async def serve(requests: int) -> float:
            left = iter(range(requests))
            began = time.perf_counter()

            async def client() -> None:
                for _ in left:
                    await app(new_scope(), receive, _ignore)

            await asyncio.gather(*(client() for _ in range(_AT_ONCE)))
            return time.perf_counter() - began

        yield lambda requests: loop.run_until_complete(serve(requests))
        loop.run_until_complete(handler.on_shutdown())


def _settings(store: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the handler whose events are in memory until their flush, and of the one that is durable."""
    without = {"queue": "without", "outbox": store.outbox}
    return without, {"queue": "durable", "outbox": store.outbox, "durability": "response"}


@contextmanager
def _store(database: str) -> Iterator[Any]:
    from fastapi_events.storage.sqlalchemy import SqlStore

    with TemporaryDirectory() as folder:
        store = SqlStore(database or f"sqlite:///{Path(folder) / 'events.db'}")
        store.setup()
        yield store


def _app(handler: Any) -> App:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from fastapi_events.dispatcher import dispatch
    from fastapi_events.middleware import EventHandlerASGIMiddleware

    async def endpoint(request: Request) -> Response:
        dispatch(NAME, payload=PAYLOAD)
        return Response(status_code=204)

    return EventHandlerASGIMiddleware(Starlette(routes=[Route("/", endpoint)]), handlers=[handler])


async def _until_response(app: App) -> float:
    """Seconds until the last byte of a response; then its events are flushed, which is not counted."""
    sent: list[float] = []

    async def send(message: Any) -> None:
        sent.append(time.perf_counter())

    began = time.perf_counter()
    await app(new_scope(), receive, send)
    return sent[-1] - began


async def _ignore(message: Any) -> None: ...
