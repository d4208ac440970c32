"""An event is found in the queue where it is, and that changes nothing there."""

from __future__ import annotations

import asyncio
import threading

import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.stub import StubBroker

from fastapi_events.context import event_store
from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.task_queue.messages import fan_out_name
from fastapi_events.handlers.task_queue.queue_search import QueueSearch
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.typing import Event
from tests.places import Dramatiq, OnCeleryAndRabbitmq, QueuePlace
from tests.processes import until

LATER = RetryPolicy(max_retries=1, min_backoff=300.0, jitter=False)


@pytest.fixture
def shows_nothing(queue_place: QueuePlace) -> bool:
    """Whether nobody can look into the broker's queues."""
    broker = queue_place.broker if isinstance(queue_place, Dramatiq) else None
    return isinstance(broker, (RabbitmqBroker, StubBroker)) or isinstance(queue_place, OnCeleryAndRabbitmq)


def search(place: QueuePlace, prefix: str) -> QueueSearch:
    return place.handler.engine.search(sorted(place.queues), prefix, timeout=10.0)  # type: ignore[no-any-return]


def states(place: QueuePlace, prefix: str) -> list[tuple[str, str]]:
    return [(each.task, each.state) for each in search(place, prefix).found]


def publish(place: QueuePlace, *names: str) -> list[str]:
    async def scope() -> list[str]:
        async with collect_events([place.handler]):
            for name in names:
                dispatch(name, payload={"fish": 'a "b"'})
            return [event.id for event in event_store.get()]

    return asyncio.run(scope())


def test_where_nobody_can_look_that_is_said(queue_place: QueuePlace, shows_nothing: bool) -> None:
    [event_id] = publish(queue_place, "order")

    found = search(queue_place, event_id)

    assert bool(found.unseen) == shows_nothing
    if shows_nothing:
        assert found.found == []
        assert "events" in found.unseen[0]
        before = queue_place.handler.engine.depths(["events"], timeout=10.0)[0].ready
        search(queue_place, event_id)
        assert queue_place.handler.engine.depths(["events"], timeout=10.0)[0].ready == before


def test_an_event_is_found_before_it_is_fanned_out(queue_place: QueuePlace, shows_nothing: bool) -> None:
    publish(queue_place, "before")
    first, second = publish(queue_place, "order", "order")
    queue_place.send("no envelope")
    if shows_nothing:
        assert search(queue_place, first).found == []
        return

    for event_id in (first, second):
        [found] = search(queue_place, event_id[:12]).found
        assert (found.id, found.queue, found.state) == (event_id, "events", "ready")
        assert found.task == fan_out_name("events")
        assert found.ahead == 1
        assert f'"id":"{event_id}"' in found.envelope
    assert search(queue_place, "nobody").found == []
    assert len(search(queue_place, "").found) == 3


def test_an_event_is_found_in_hand_and_before_its_next_attempt(
    queue_place: QueuePlace, shows_nothing: bool
) -> None:
    started, gate = threading.Event(), threading.Event()

    def hold(event: Event) -> None:
        started.set()
        assert gate.wait(60)
        raise ValueError("not yet")

    queue_place.handler.register(hold, event_name="held", name="hold", retry=LATER)
    try:
        queue_place.work()
        [event_id] = publish(queue_place, "held")
        assert started.wait(60)
        if shows_nothing:
            assert search(queue_place, event_id).found == []
            return
        until(lambda: states(queue_place, event_id) == [("hold", "in hand")], "it is in hand")
        [found] = search(queue_place, event_id).found
        assert (found.queue, found.ahead, found.due) == ("events", None, None)
    finally:
        gate.set()

    until(lambda: states(queue_place, event_id) == [("hold", "delayed")], "it is delayed")
    [found] = search(queue_place, event_id).found
    assert found.due is not None
