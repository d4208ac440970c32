"""Which loop async functions meet in a worker of Dramatiq."""

from __future__ import annotations

import asyncio
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO

from fastapi_events import green_threads
from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.event_loop import EventLoop, UnusableLoop
from fastapi_events.process_loop import process_loop
from fastapi_events.scope import collect_events


@pytest.mark.parametrize("first", [True, False])
def test_an_actor_and_a_function_of_ours_share_dramatiqs_loop(first: bool) -> None:
    broker = StubBroker()
    if first:
        broker.add_middleware(AsyncIO())
    events = DramatiqHandler(broker)
    if not first:
        broker.add_middleware(AsyncIO())
    loops: list[Any] = []

    @dramatiq.actor(broker=broker, queue_name="events")
    async def actor() -> None:
        loops.append(asyncio.get_running_loop())

    @events.register(event_name="hello")
    async def function(event: Any) -> None:
        loops.append(asyncio.get_running_loop())

    worker = dramatiq.Worker(broker, worker_timeout=10, worker_threads=1)
    worker.start()
    try:
        actor.send()
        with collect_events([events], raise_errors=True):
            dispatch("hello")
        broker.join("events", timeout=20_000)
        worker.join()
    finally:
        worker.stop()

    assert len(loops) == 2
    assert loops[0] is loops[1]
    assert process_loop().loop is not loops[0]  # which has ended


def test_it_is_refused_where_it_would_share_the_one_thread_of_all_greenlets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(green_threads, "are_threads_green", lambda: True)
    broker = StubBroker()
    EventLoop().before_worker_boot(broker, None)

    broker.add_middleware(AsyncIO())
    with pytest.raises(UnusableLoop, match="Take the middleware out"):
        EventLoop().before_worker_boot(broker, None)
