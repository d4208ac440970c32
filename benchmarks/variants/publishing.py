"""Events on their way into a broker: ours in one message a flush, the engines' own calls one by one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from in_process import event_loop
from payload import NAME, PAYLOAD

Run = Callable[[int], float]


@contextmanager
def dramatiq_send(url: str, size: int, confirm: bool = True) -> Iterator[Run]:
    """`send()` for each event."""
    import dramatiq

    broker = dramatiq_broker(url, confirm=confirm)

    @dramatiq.actor(broker=broker, queue_name="events")
    def handle(name: str, payload: Any) -> None: ...

    def flush() -> None:
        for _ in range(size):
            handle.send(NAME, PAYLOAD)

    yield _timed(flush, lambda: _empty(url, broker))


@contextmanager
def send_in_thread(url: str) -> Iterator[Run]:
    """A limit: `send()` in a thread, for which a coroutine waits without blocking its loop."""
    import dramatiq

    broker = dramatiq_broker(url)

    @dramatiq.actor(broker=broker, queue_name="events")
    def handle(name: str, payload: Any) -> None: ...

    with event_loop() as loop:

        def flush() -> Awaitable[Any]:
            return loop.run_in_executor(None, handle.send, NAME, PAYLOAD)

        yield _timed_on(loop, flush, lambda: _empty(url, broker))
        loop.run_until_complete(loop.shutdown_default_executor())


@contextmanager
def celery_delay(url: str, size: int) -> Iterator[Run]:
    """`delay()` for each event."""
    app = celery_app(url)

    @app.task(name="handle", ignore_result=True)
    def handle(name: str, payload: Any) -> None: ...

    def flush() -> None:
        for _ in range(size):
            handle.delay(NAME, PAYLOAD)

    yield _timed(flush, lambda: _empty(url))


@contextmanager
def ours(url: str, size: int, engine: str) -> Iterator[Run]:
    """A flush, from events that nobody has encoded yet to the broker's confirmation."""
    handler, broker = our_handler(url, engine)
    from fastapi_events.event import Event

    def flush() -> Awaitable[Any]:
        flushed: Awaitable[Any] = handler.handle_many([Event(NAME, PAYLOAD) for _ in range(size)])
        return flushed

    with event_loop() as loop:
        yield _timed_on(loop, flush, lambda: _empty(url, broker))
        loop.run_until_complete(handler.on_shutdown())


@contextmanager
def our_fan_out(url: str, size: int, engine: str) -> Iterator[Run]:
    """The worker's fan-out of one message, for each of whose events one subscription listens."""
    handler, broker = our_handler(url, engine)
    from fastapi_events import envelope
    from fastapi_events.event import Event

    @handler.register(event_name="cat*")
    def listen(event: Event) -> None: ...

    def message() -> str:
        return f"[{','.join(envelope.seal(Event(NAME, PAYLOAD), source='bench') for _ in range(size))}]"

    def run(operations: int) -> float:
        messages = [message() for _ in range(operations)]
        began = time.perf_counter()
        for each in messages:
            handler.worker.fan_out(each)
        taken = time.perf_counter() - began
        _empty(url, broker)
        return taken

    yield run


@contextmanager
def pipelined_rpush(url: str, size: int) -> Iterator[Run]:
    """A physical limit: one command an event, all in one round trip, the bytes made beforehand."""
    import json

    client = redis.Redis.from_url(url)
    message = json.dumps({"name": NAME, "payload": PAYLOAD}).encode()

    def flush() -> None:
        pipeline = client.pipeline(transaction=False)
        for _ in range(size):
            pipeline.rpush("raw", message)
        pipeline.execute()

    yield _timed(flush, lambda: _empty(url))


@contextmanager
def one_rpush(url: str, size: int) -> Iterator[Run]:
    """A physical limit: the bytes of all events as one element."""
    import json

    client = redis.Redis.from_url(url)
    message = json.dumps([{"name": NAME, "payload": PAYLOAD}] * size).encode()
    yield _timed(lambda: client.rpush("raw", message), lambda: _empty(url))


@contextmanager
def ping(url: str) -> Iterator[Run]:
    """One round trip."""
    client = redis.Redis.from_url(url)
    yield _timed(client.ping, lambda: None)


@contextmanager
def pydantic_alone() -> Iterator[Run]:
    """A physical limit: pydantic-core validates a payload and writes it as JSON."""
    from pydantic import BaseModel

    class CatRequestedAFish(BaseModel):
        cat_id: int
        name: str
        fish: str
        requested_at: str
        urgent: bool

    validate = CatRequestedAFish.__pydantic_validator__.validate_python
    write = CatRequestedAFish.__pydantic_serializer__.to_json
    yield _timed(lambda: write(validate(PAYLOAD)), lambda: None)


def dramatiq_broker(url: str, *, confirm: bool = True, safe: bool = False) -> Any:
    """Dramatiq's broker as its documentation makes it, or as ours does."""
    import dramatiq

    broker: Any
    if url.startswith("amqp"):
        from dramatiq.brokers.rabbitmq import RabbitmqBroker

        broker = RabbitmqBroker(url=url, confirm_delivery=confirm)
    elif safe:
        from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker

        broker = SafeRedisBroker(url=url)
    else:
        from dramatiq.brokers.redis import RedisBroker

        broker = RedisBroker(url=url)
    dramatiq.set_broker(broker)
    return broker


def celery_app(url: str) -> Any:
    """Celery's app, which leaves no results."""
    from celery import Celery

    app = Celery("bench", broker=url)
    app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
    return app


def our_handler(url: str, engine: str, **settings: Any) -> tuple[Any, Any]:
    """Our handler for an engine, and the broker it publishes to."""
    if engine == "celery":
        from fastapi_events.handlers.celery import CeleryHandler

        return CeleryHandler(celery_app(url), **settings), None
    from fastapi_events.handlers.dramatiq import DramatiqHandler

    broker = dramatiq_broker(url, safe=True)
    return DramatiqHandler(broker, **settings), broker


def _timed(work: Callable[[], Any], clean: Callable[[], None]) -> Run:
    def run(operations: int) -> float:
        began = time.perf_counter()
        for _ in range(operations):
            work()
        taken = time.perf_counter() - began
        clean()
        return taken

    return run


def _timed_on(
    loop: asyncio.AbstractEventLoop, work: Callable[[], Awaitable[Any]], clean: Callable[[], None]
) -> Run:
    async def often(operations: int) -> float:
        began = time.perf_counter()
        for _ in range(operations):
            await work()
        return time.perf_counter() - began

    def run(operations: int) -> float:
        taken = loop.run_until_complete(often(operations))
        clean()
        return taken

    return run


def _empty(url: str, broker: Any = None) -> None:
    """Forget what nobody will read, lest the broker slow down under it."""
    if url.startswith("redis"):
        client = redis.Redis.from_url(url)
        client.flushdb()
        client.close()
    elif broker is not None:
        broker.flush("events")
