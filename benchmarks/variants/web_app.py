"""The web process of the rows about one: an application, and beside it figures about the process.

`BENCH` says in JSON what to do with the events of a request.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from typing import Any

from fastapi import FastAPI
from payload import NAME, PAYLOAD
from publishing import celery_app, dramatiq_broker, our_handler

_OFTEN = 0.002
"""Seconds between two looks at whether the loop is late."""

options: dict[str, Any] = json.loads(os.environ["BENCH"])
counts: Counter[str] = Counter()
lags: list[float] = []
handler: Any = None
inner: Any = FastAPI()


@inner.post("/", status_code=202)
async def request() -> None:
    for _ in range(options["events"]):
        counts["dispatched"] += 1
        dispatch(NAME, payload=PAYLOAD)
    if not options["events"]:
        counts["delivered"] += 1


def _naive() -> Any:
    """What one writes first: the engine's own call for each event, in a handler of fastapi-events 0.12."""
    from fastapi_events.handlers.base import BaseEventHandler

    if options["kind"] == "celery":
        send = celery_app(options["url"]).task(name="handle", ignore_result=True)(_handle).delay
    else:
        import dramatiq

        broker = dramatiq_broker(options["url"])
        send = dramatiq.actor(_handle, actor_name="handle", queue_name="events", broker=broker).send

    class Naive(BaseEventHandler):
        async def handle(self, event: Any) -> None:
            send(*event)
            counts["delivered"] += 1

    return Naive()


def _handle(name: str, payload: Any) -> None: ...


def _ours() -> Any:
    from fastapi_events.lifecycle import Lifecycle, observe

    class Count(Lifecycle):
        def published(self, events: Any, *, handler: str) -> None:
            counts["delivered"] += len(events)

        def lost(self, event: Any, *, handler: str, reason: str) -> None:
            counts["lost"] += 1

    observe(Count())
    return our_handler(options["url"], options["kind"], **options.get("settings", {}))[0]


if options["events"]:
    from fastapi_events.dispatcher import dispatch
    from fastapi_events.middleware import EventHandlerASGIMiddleware

    handler = _ours() if options["ours"] else _naive()
    inner.add_middleware(EventHandlerASGIMiddleware, handlers=[handler])


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The application; `/figures` is answered beside it, so that looking costs the events nothing."""
    if scope["type"] == "http" and scope["path"] == "/figures":
        await _show(send)
        return
    if scope["type"] == "lifespan":
        _watching.add(asyncio.create_task(_watch()))
    await inner(scope, receive, send)


_watching: set[asyncio.Task[None]] = set()


async def _watch() -> None:
    while True:
        expected = time.perf_counter() + _OFTEN
        await asyncio.sleep(_OFTEN)
        lags.append(time.perf_counter() - expected)


async def _show(send: Any) -> None:
    waiting = sorted(lags) or [0.0]
    lags.clear()
    figures = {
        "delivered": counts["delivered"],
        "dispatched": counts["dispatched"],
        "lost": counts["lost"],
        "pending": handler._outlet.publisher.pending if options.get("ours") else 0,
        "lag": waiting[int(len(waiting) * 0.99)],
        "worst_lag": waiting[-1],
        "pid": os.getpid(),
    }
    body = json.dumps(figures).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
