"""The cost of an event as the numbers grow: of subscriptions, of events in a request, of requests at once."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from in_process import event_loop, new_scope, receive, send
from listening import mixed_patterns
from payload import NAME, PAYLOAD
from publishing import our_handler


@contextmanager
def subscriptions(count: int) -> Iterator[Callable[[int], float]]:
    """Handling events with names never seen before, to each of which one of so many functions listens."""
    from fastapi_events.event import Event
    from fastapi_events.handlers.local import LocalHandler

    handler = LocalHandler()
    for pattern in mixed_patterns(count):

        async def listen(event: Any) -> None: ...

        handler.register(listen, event_name=pattern)
    numbers = itertools.count()
    with event_loop() as loop:

        async def run(operations: int) -> float:
            events = [Event(f"shop-0.{next(numbers)}", PAYLOAD) for _ in range(operations)]
            began = time.perf_counter()
            for event in events:
                await handler.handle(event)
            return time.perf_counter() - began

        yield lambda operations: loop.run_until_complete(run(operations))


@contextmanager
def requests(url: str, events: int, at_once: int) -> Iterator[Callable[[int], float]]:
    """Requests in this process whose events go to Dramatiq's queue: seconds an event, delivery included.

    Parameters:
        events: In each request.
        at_once: How many requests are under way.
    """
    from fastapi_events.dispatcher import dispatch
    from fastapi_events.middleware import EventHandlerASGIMiddleware

    handler, _ = our_handler(url, "dramatiq", max_pending_events=1_000_000, flush_deadline=30.0)
    client = redis.Redis.from_url(url)

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(events):
            dispatch(NAME, payload=PAYLOAD)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = EventHandlerASGIMiddleware(inner, handlers=[handler])
    with event_loop() as loop:

        async def run(operations: int) -> float:
            began = time.perf_counter()
            for _ in range(operations):
                await asyncio.gather(*(app(new_scope(), receive, send) for _ in range(at_once)))
            return (time.perf_counter() - began) / (events * at_once)

        def measured(operations: int) -> float:
            taken = loop.run_until_complete(run(operations))
            client.flushdb()
            return taken

        yield measured
        loop.run_until_complete(handler.on_shutdown())
