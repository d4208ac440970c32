"""How much waits in a queue: the same words, with the same meanings, on every engine and broker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.stub import StubBroker

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.task_queue.depth import QueueDepth
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.typing import Event
from tests.places import Dramatiq, OnCeleryAndRabbitmq, QueuePlace
from tests.processes import until

NEVER = RetryPolicy(max_retries=0)
LATER = RetryPolicy(max_retries=1, min_backoff=300.0, jitter=False)


@pytest.fixture
def on_rabbitmq(queue_place: QueuePlace) -> bool:
    """Whether the broker cannot tell what its workers hold."""
    broker = queue_place.broker if isinstance(queue_place, Dramatiq) else None
    return isinstance(broker, RabbitmqBroker) or isinstance(queue_place, OnCeleryAndRabbitmq)


@pytest.fixture
def on_stub(queue_place: QueuePlace) -> bool:
    return isinstance(queue_place, Dramatiq) and isinstance(queue_place.broker, StubBroker)


def depth(place: QueuePlace, queue: str = "events") -> QueueDepth:
    [found] = place.handler.engine.depths([queue], timeout=10.0)
    assert found.queue == queue
    return found  # type: ignore[no-any-return]


def publish(place: QueuePlace, name: str) -> None:
    async def scope() -> None:
        async with collect_events([place.handler]):
            dispatch(name, payload={"n": 1})

    asyncio.run(scope())


def becomes(place: QueuePlace, holds: Callable[[QueueDepth], bool]) -> None:
    until(lambda: holds(depth(place)), "the depth")


def test_a_queue_that_is_not_there_holds_nothing_and_is_not_made(queue_place: QueuePlace) -> None:
    for _ in range(2):
        found = depth(queue_place, "nowhere")
        assert (found.ready, found.dead, found.oldest) == (0, 0, None)
        assert found.consumers in (0, None)


def test_ready_is_what_no_worker_has_taken(queue_place: QueuePlace, on_rabbitmq: bool, on_stub: bool) -> None:
    for _ in range(3):
        publish(queue_place, "heard")

    becomes(queue_place, lambda found: found.ready == 3)

    found = depth(queue_place)
    assert found.ready == 3  # looking has changed nothing
    assert found.in_hand == (None if on_rabbitmq or on_stub else 0)
    assert found.consumers == (0 if on_rabbitmq else None)
    if on_rabbitmq or on_stub:
        assert found.oldest is None
    else:
        assert found.oldest is not None
        assert 0 <= found.oldest < 300


def test_in_hand_is_what_a_worker_is_at(queue_place: QueuePlace, on_rabbitmq: bool, on_stub: bool) -> None:
    started, gate = threading.Event(), threading.Event()

    def hold(event: Event) -> None:
        started.set()
        assert gate.wait(60)

    queue_place.handler.register(hold, event_name="held", name="hold")

    try:
        queue_place.work()
        publish(queue_place, "held")
        assert started.wait(60)
        if on_rabbitmq:
            becomes(queue_place, lambda found: found.ready == 0 and (found.consumers or 0) >= 1)
            assert depth(queue_place).in_hand is None
        elif on_stub:
            becomes(queue_place, lambda found: found.ready == 0)
        else:
            becomes(queue_place, lambda found: (found.ready, found.in_hand) == (0, 1))
            assert depth(queue_place).oldest is None
    finally:
        gate.set()
    queue_place.settle()
    if not (on_rabbitmq or on_stub):
        becomes(queue_place, lambda found: found.in_hand == 0)


def test_delayed_is_what_waits_for_its_time_and_dead_what_was_given_up(
    queue_place: QueuePlace, on_rabbitmq: bool, on_stub: bool
) -> None:
    def hopeless(event: Event) -> None:
        raise ValueError("never")

    queue_place.handler.register(hopeless, event_name="bad", name="hopeless", retry=NEVER)

    def later(event: Event) -> None:
        raise ValueError("not yet")

    queue_place.handler.register(later, event_name="bad", name="later", retry=LATER)

    queue_place.work()
    publish(queue_place, "bad")

    # The stub broker makes nobody wait for a retry.
    becomes(queue_place, lambda found: found.dead == (2 if on_stub else 1))
    if on_rabbitmq or on_stub:
        # On RabbitMQ until a worker consumes what is delayed: then it does not tell how many it holds.
        becomes(queue_place, lambda found: (found.ready, found.delayed) == (0, None))
    else:
        becomes(queue_place, lambda found: (found.ready, found.delayed) == (0, 1))
