"""Requests whose events reach the broker, with and without a journal that tells of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from in_process import event_loop, new_scope, receive, send
from payload import NAME, PAYLOAD
from publishing import our_handler
from pydantic_core import to_json


@contextmanager
def request(url: str, events: int, journal: str | None) -> Iterator[Callable[[int], dict[str, float]]]:
    """Processor time of a request, all threads of the process together, until the journal has been written.

    Parameters:
        journal: `memory`, `redis`, or none; `least` stands for the least that one could do instead: two
            `append()` for each event, and the JSON of one row.
    """
    from fastapi import FastAPI

    from fastapi_events import recorder
    from fastapi_events.dispatcher import dispatch
    from fastapi_events.middleware import EventHandlerASGIMiddleware
    from fastapi_events.storage.memory import MemoryJournal
    from fastapi_events.storage.redis import RedisStore

    kept: Any = None
    if journal in ("memory", "redis"):
        kept = MemoryJournal() if journal == "memory" else RedisStore(url).journal
    handler, _ = our_handler(url, "dramatiq", **({} if kept is None else {"journal": kept}))
    app = FastAPI()

    told: list[tuple[str, float]] = []
    rows: list[bytes] = []

    @app.get("/")
    async def endpoint() -> dict[str, str]:
        for _ in range(events):
            dispatch(NAME, payload=PAYLOAD)
        if journal == "least":
            for _ in range(events):
                told.append((NAME, time.time()))
                told.append((NAME, time.time()))
                rows.append(to_json({"name": NAME, "dispatched": time.time(), "published": time.time()}))
        return {"fish": "requested"}

    served = EventHandlerASGIMiddleware(app, handlers=[handler])

    async def serve(requests: int) -> None:
        for _ in range(requests):
            await served(new_scope(), receive, send)

    with event_loop() as loop:

        def run(operations: int) -> dict[str, float]:
            began = time.process_time()
            loop.run_until_complete(serve(operations))
            recorder.flush_all()
            told.clear()
            rows.clear()
            spent = time.process_time() - began
            with redis.Redis.from_url(url) as client:
                client.flushdb()
            return {"seconds": spent / operations}

        yield run
        loop.run_until_complete(handler.on_shutdown())
