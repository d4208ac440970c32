"""A flush while the broker is away, and what the event loop notices of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from in_process import event_loop
from payload import NAME, PAYLOAD
from publishing import celery_app, dramatiq_broker, our_handler

_OFTEN = 0.002


@contextmanager
def our_flush(engine: str, fault: str, events: int = 10) -> Iterator[Callable[[int], dict[str, float]]]:
    """Seconds that a flush takes until it gives up, and the loop's greatest lag meanwhile."""
    from fastapi_events.errors import NotPublished
    from fastapi_events.event import Event

    with broken_broker(fault) as url, event_loop() as loop:

        async def flush() -> dict[str, float]:
            handler, _ = our_handler(url, engine)  # a new one, which has not learnt yet that nobody is there
            lags: list[float] = []
            watch = asyncio.create_task(_watch(lags))
            await asyncio.sleep(20 * _OFTEN)
            began = time.perf_counter()
            try:
                await handler.handle_many([Event(NAME, PAYLOAD) for _ in range(events)])
            except NotPublished:
                taken = time.perf_counter() - began
            else:
                raise RuntimeError("a broker that is away has taken events")
            await asyncio.sleep(20 * _OFTEN)
            watch.cancel()
            return {"seconds": taken, "worst_lag": max(lags)}

        with contextlib.suppress(Exception):
            loop.run_until_complete(flush())  # imports, and the thread's start
        yield lambda _: loop.run_until_complete(flush())


@contextmanager
def naive_send(engine: str, fault: str, patience: float) -> Iterator[Callable[[int], dict[str, float]]]:
    """Seconds that the engine's own call blocks its caller; `patience` when it still does by then."""
    with broken_broker(fault) as url:
        if engine == "celery":
            send = celery_app(url).task(name="handle", ignore_result=True)(_handle).delay
        else:
            import dramatiq

            send = dramatiq.actor(_handle, queue_name="events", broker=dramatiq_broker(url)).send

        def attempt() -> None:
            with contextlib.suppress(Exception):
                send(NAME, PAYLOAD)

        def run(_: int) -> dict[str, float]:
            thread = threading.Thread(target=attempt, daemon=True)
            began = time.perf_counter()
            thread.start()
            thread.join(patience)
            return {"seconds": time.perf_counter() - began}

        yield run


@contextmanager
def broken_broker(fault: str) -> Iterator[str]:
    """The URL of a broker that refuses connections, or takes them and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if fault == "silent":
            server.listen(128)  # the kernel accepts, and nobody ever reads
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


async def _watch(lags: list[float]) -> None:
    while True:
        expected = time.perf_counter() + _OFTEN
        await asyncio.sleep(_OFTEN)
        lags.append(time.perf_counter() - expected)


def _handle(name: str, payload: Any) -> None: ...
