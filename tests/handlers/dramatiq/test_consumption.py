"""What is reported of Dramatiq's consumers."""

from __future__ import annotations

import asyncio
import threading

import dramatiq
from dramatiq.brokers.stub import StubBroker

from fastapi_events.event import Event
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.consumption import ReportingMiddleware
from tests.places import Dramatiq
from tests.processes import until


def look(broker: dramatiq.Broker, worker: dramatiq.Worker):  # type: ignore[no-untyped-def]
    [middleware] = [each for each in broker.middleware if isinstance(each, ReportingMiddleware)]
    return middleware._look(broker, worker)


def test_it_sees_what_is_in_hand_and_consumers_that_have_stopped() -> None:
    go_on, begun = threading.Event(), threading.Semaphore(0)
    place = Dramatiq(StubBroker())

    @place.handler.register(event_name="hello")
    def wait(event: Event) -> None:
        begun.release()
        go_on.wait(30)

    place.work()
    worker = place.worker
    assert worker is not None
    try:
        found = look(place.broker, worker)
        assert (set(found.queues), set(found.stopped), found.in_hand) == ({"events"}, set(), 0)
        assert found.has_room
        asyncio.run(place.handler.handle_many([Event("hello"), Event("hello")]))
        for _ in range(2):
            assert begun.acquire(timeout=30)
        found = look(place.broker, worker)
        assert (found.in_hand, found.has_room) == (2, False)
        go_on.set()
        until(lambda: look(place.broker, worker).in_hand == 0, "that they are done")
        consumer = worker.consumers["events"]
        consumer.stop()
        until(lambda: not consumer.is_alive(), "that the consumer has ended")
        assert set(look(place.broker, worker).stopped) == {"events"}
    finally:
        go_on.set()
        worker.stop()


def test_a_broker_has_it_once_for_however_many_handlers() -> None:
    broker = StubBroker()
    for queue in ("one", "other"):
        DramatiqHandler(broker, queue=queue)

    assert len([each for each in broker.middleware if isinstance(each, ReportingMiddleware)]) == 1
