"""Events on their way into a broker, with libraries that are asynchronous from the start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from payload import NAME, PAYLOAD

Run = Callable[[int], float]


@contextmanager
def taskiq_kiq(url: str, size: int) -> Iterator[Run]:
    """`kiq()` for each event, on taskiq's list broker."""
    from taskiq_redis import ListQueueBroker

    broker = ListQueueBroker(url)

    @broker.task(task_name="handle")
    async def handle(name: str, payload: Any) -> None: ...

    async def flush() -> None:
        for _ in range(size):
            await handle.kiq(NAME, PAYLOAD)

    with _running(broker.startup, broker.shutdown) as loop:
        yield _timed(loop, flush, url)


@contextmanager
def faststream_publish(url: str, size: int, batch: bool = False) -> Iterator[Run]:
    """`publish()` for each event, or `publish_batch()` of all."""
    from faststream.redis import RedisBroker

    broker = RedisBroker(url)
    event = {"name": NAME, "payload": PAYLOAD}

    async def flush() -> None:
        if batch:
            await broker.publish_batch(*[event] * size, list="events")
            return
        for _ in range(size):
            await broker.publish(event, list="events")

    with _running(broker.connect, broker.stop) as loop:
        yield _timed(loop, flush, url)


@contextmanager
def _running(
    start: Callable[[], Awaitable[Any]], stop: Callable[[], Awaitable[Any]]
) -> Iterator[asyncio.AbstractEventLoop]:
    async def wait(step: Callable[[], Awaitable[Any]]) -> None:
        await step()

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(wait(start))
    yield loop
    loop.run_until_complete(wait(stop))
    loop.close()


def _timed(loop: asyncio.AbstractEventLoop, flush: Callable[[], Awaitable[None]], url: str) -> Run:
    import redis

    client = redis.Redis.from_url(url)

    async def flush_often(operations: int) -> float:
        began = time.perf_counter()
        for _ in range(operations):
            await flush()
        return time.perf_counter() - began

    def run(operations: int) -> float:
        taken = loop.run_until_complete(flush_often(operations))
        client.flushdb()
        return taken

    return run
