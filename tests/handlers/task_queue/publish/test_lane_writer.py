"""The lane writer: what is put, what is refused, and whose key is behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from fastapi_events.errors import NotPublished, StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import FAN_OUT_TURN
from fastapi_events.handlers.task_queue.ordering import Order
from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker
from fastapi_events.handlers.task_queue.publish.lane_writer import LaneWriter
from fastapi_events.handlers.task_queue.publish.sealer import Sealer
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.storage.lanes import Item, Lane, Placed
from fastapi_events.storage.memory import MemoryLanes, MemoryOutbox
from fastapi_events.storage.outbox import Entry
from tests.handlers.task_queue.broker import ListEngine

HERE = "list:events"
LONG = 10.0


class Lanes(MemoryLanes):
    """Refuses all keys, or some of them; its door may be shut."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.refusing: set[str] | None = set()
        self.door = threading.Event()
        self.door.set()
        self.entered = threading.Event()
        self.tried = 0

    def put(self, items: Mapping[Lane, Sequence[Item]]) -> Placed:
        self.tried += 1
        self.entered.set()
        assert self.door.wait(10)
        if self.refusing is None or self.refusing & {lane.key for lane in items}:
            raise StorageError("away")
        return super().put(items)


@pytest.fixture
def lanes() -> Lanes:
    return Lanes()


@pytest.fixture
def engine() -> ListEngine:
    return ListEngine()


def writer_of(
    lanes: Lanes, engine: ListEngine, outbox: MemoryOutbox | None = None, **settings: Any
) -> LaneWriter:
    defaults: dict[str, Any] = {
        "deadline": LONG, "max_pending": 10_000, "sender": engine, "outbox_breaker": CircuitBreaker(),
    }  # fmt: skip
    return LaneWriter(
        Order(lanes, HERE, engine), routes=Routes("events", {"bill*": "bills"}), sealer=Sealer("shop", {}),
        outbox=outbox, **defaults | settings,
    )  # fmt: skip


def ordered(name: str, key: str = "k") -> Event:
    event = Event(name)
    event.ordering_key = key
    return event


def entry(event: Event) -> Entry:
    return Entry(
        id=event.id, destination=HERE, envelope=Sealer("shop", {}).seal([event])[0],
        ordering_key=event.ordering_key,
    )  # fmt: skip


def waiting(lanes: Lanes, key: str = "k") -> list[str]:
    """The ids in a lane of fan-out."""
    taken = lanes.take([Lane(HERE, FAN_OUT_TURN, key)], token="test", lease=0, limit=100)
    return [item.id for each in taken for item in each.items]


def test_events_are_in_their_lanes_and_the_broker_knows(lanes: Lanes, engine: ListEngine) -> None:
    first, second, other = ordered("a"), ordered("bill"), ordered("a", "l")

    asyncio.run(writer_of(lanes, engine).publish([first, second, other]))

    assert waiting(lanes) == [first.id, second.id]
    assert waiting(lanes, "l") == [other.id]
    assert [each.argument for each in engine.sent] == ['{"bell":["k","l"],"queue":"events"}']


def test_a_broker_that_is_away_is_no_reason_to_refuse(lanes: Lanes, engine: ListEngine) -> None:
    engine.refusing = ConnectionError("away")
    event = ordered("a")

    asyncio.run(writer_of(lanes, engine).publish([event]))

    assert [each.lane.key for each in lanes.due(HERE)] == ["k"]
    assert waiting(lanes) == [event.id]


def test_one_key_that_is_refused_costs_the_others_nothing(lanes: Lanes, engine: ListEngine) -> None:
    lanes.refusing = {"bad"}
    events = [ordered("a"), ordered("a", "bad"), ordered("a", "l")]

    with pytest.raises(NotPublished, match="StorageError: away") as refused:
        asyncio.run(writer_of(lanes, engine).publish(events))

    assert list(refused.value.events) == [events[1]]
    assert (waiting(lanes), waiting(lanes, "l")) == ([events[0].id], [events[2].id])


def test_a_full_lane_is_named(engine: ListEngine) -> None:
    lanes = Lanes(max_items=1)
    events = [ordered("a"), ordered("b"), ordered("a", "l")]

    with pytest.raises(NotPublished, match="lane of 'k' for fan-out holds 1 items at most") as refused:
        asyncio.run(writer_of(lanes, engine).publish(events))

    assert list(refused.value.events) == events[:2]
    assert waiting(lanes, "l") == [events[2].id]


def test_a_store_that_is_away_is_not_tried_for_each_key(lanes: Lanes, engine: ListEngine) -> None:
    lanes.refusing = None

    with pytest.raises(NotPublished):
        asyncio.run(writer_of(lanes, engine).publish([ordered("a", str(number)) for number in range(100)]))

    assert lanes.tried == 3


def test_what_follows_a_refused_event_is_refused_until_a_relay_has_put_it(
    lanes: Lanes, engine: ListEngine
) -> None:
    # Given an event that could not be put, on its way into the outbox
    outbox = MemoryOutbox()
    writer = writer_of(lanes, engine, outbox)
    first, second, third, other = ordered("1"), ordered("2"), ordered("3"), ordered("a", "l")
    lanes.refusing = {"k"}
    with pytest.raises(NotPublished):
        asyncio.run(writer.publish([first]))
    lanes.refusing = set()
    writer._breaker.succeeded()

    # Then one behind it waits, be the first in the outbox yet or not
    with pytest.raises(NotPublished, match="before it wait in the outbox"):
        asyncio.run(writer.publish([second]))
    outbox.add([entry(first)])
    writer.arrived([first], kept=True)
    outbox.add([entry(second)])
    writer.arrived([second], kept=True)
    with pytest.raises(NotPublished, match="before it wait in the outbox") as refused:
        asyncio.run(writer.publish([third, other]))
    assert list(refused.value.events) == [third]
    writer.arrived([third], kept=True)

    # Until a relay has put them
    _, left = writer.put_entries(outbox.list())
    assert not left
    outbox.discard(outbox.list())
    asyncio.run(writer.publish([third]))
    assert waiting(lanes) == [first.id, second.id, third.id]


def test_at_the_deadline_what_has_not_begun_is_taken_back_and_its_key_behind(
    lanes: Lanes, engine: ListEngine
) -> None:
    writer = writer_of(lanes, engine, MemoryOutbox(), deadline=0.05)
    lanes.door.clear()
    first, second, other = ordered("1", "other"), ordered("2"), ordered("3")

    async def flush() -> None:
        hanging = asyncio.ensure_future(writer.publish([first]))
        assert await asyncio.to_thread(lanes.entered.wait, 10)
        with pytest.raises(NotPublished, match="no answer from the lanes"):
            await writer.publish([second])
        with pytest.raises(NotPublished, match="they may have it"):
            await hanging
        lanes.door.set()
        with pytest.raises(NotPublished, match="before it wait in the outbox"):
            await writer.publish([other])

    asyncio.run(flush())
    assert waiting(lanes) == []


def test_where_there_is_no_outbox_nothing_is_behind(lanes: Lanes, engine: ListEngine) -> None:
    writer = writer_of(lanes, engine)
    lanes.refusing = {"k"}
    with pytest.raises(NotPublished):
        asyncio.run(writer.publish([ordered("a")]))
    lanes.refusing = set()
    event = ordered("b")

    asyncio.run(writer.publish([event]))

    assert waiting(lanes) == [event.id]


def test_what_waits_when_the_process_ends_is_put(lanes: Lanes, engine: ListEngine) -> None:
    writer = writer_of(lanes, engine)
    lanes.door.clear()
    events = [ordered("1"), ordered("2", "l")]

    async def flush() -> None:
        flushes = [asyncio.ensure_future(writer.publish([event])) for event in events]
        assert await asyncio.to_thread(lanes.entered.wait, 10)
        lanes.door.set()
        assert await asyncio.to_thread(writer.shutdown, 10) == []
        await asyncio.gather(*flushes)

    asyncio.run(flush())
    assert (waiting(lanes), waiting(lanes, "l")) == ([events[0].id], [events[1].id])
    assert len(engine.sent) >= 1


def test_what_another_process_has_left_in_the_outbox_is_not_overtaken(
    lanes: Lanes, engine: ListEngine
) -> None:
    # Given an event of a key that an earlier process could only keep
    outbox = MemoryOutbox()
    earlier, later = ordered("earlier"), ordered("later")
    outbox.add([entry(earlier)])
    writer = writer_of(lanes, engine, outbox)

    # Then the next process puts nothing of that key before it, and others as ever
    with pytest.raises(NotPublished, match="before it wait in the outbox"):
        asyncio.run(writer.publish([later]))
    asyncio.run(writer.publish([ordered("free", key="other")]))

    # Until a relay has put it
    writer.arrived([later], kept=False)
    outbox.published("relay", outbox.claim("relay", destinations=[HERE], limit=9, lease=60))
    asyncio.run(writer.publish([later]))
    writer.shutdown(10)
