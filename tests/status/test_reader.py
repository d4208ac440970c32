"""Asking brokers, catalogue and stores how a handler and its fleet are."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_events.envelope import seal
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.depth import QueueDepth
from fastapi_events.status import StatusReader
from fastapi_events.storage.catalogue import Listing, Relay, Worker
from fastapi_events.storage.journal import Count
from fastapi_events.storage.lanes import Item, Lane
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.storage.outbox import Entry
from tests.handlers.task_queue.broker import ListEngine, ListHandler


class TellingEngine(ListEngine):
    """Says how much waits, when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[Collection[str]] = []

    def depths(self, queues: Collection[str], *, timeout: float) -> Sequence[QueueDepth]:
        self.asked.append(queues)
        assert self.gate.wait(60)
        if self.refusing is not None:
            raise self.refusing
        return [QueueDepth(queue=each, ready=2, in_hand=1, delayed=0, dead=0) for each in queues]


@pytest.fixture
def engine() -> Iterator[TellingEngine]:
    engine = TellingEngine()
    yield engine
    engine.gate.set()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def handler(engine: TellingEngine, store: MemoryStore) -> ListHandler:
    return ListHandler(engine, store=store, catalogue=store.catalogue, relay=False)


def announce(store: MemoryStore, name: str, queue: str) -> None:
    """A worker runs a function that this process does not have."""
    worker = Worker(
        id=name, host="there", pid=1, engine="list", queues=(queue,), modules=(name,), subscriptions=(name,)
    )
    listing = Listing(name=name, patterns=("cat*",), queue=queue, engine="list", module=name)
    store.catalogue.announce("list:events", worker, [listing])


def test_it_asks_for_the_queues_of_the_whole_fleet(
    handler: ListHandler, engine: TellingEngine, store: MemoryStore
) -> None:
    announce(store, "bill", "bills")

    found = StatusReader(handler).read()

    assert engine.asked == [["bills", "events"]]
    [bills, events] = found.queues
    assert (bills.depth.queue, bills.depth.ready, bills.is_consumed) == ("bills", 2, True)
    assert (events.depth.queue, events.is_consumed) == ("events", False)
    [bill] = found.subscriptions
    assert (bill.name, bill.patterns, bill.workers, bill.state) == ("bill", ("cat*",), 1, "running")
    assert found.problems == ("Nobody consumes queue 'events', in which 2 messages wait.",)


def test_a_broker_that_does_not_answer_in_time_is_a_problem(
    handler: ListHandler, engine: TellingEngine, store: MemoryStore
) -> None:
    announce(store, "feed", "events")
    engine.gate.clear()

    found = StatusReader(handler).read(timeout=0.2)

    assert "The broker does not answer in time." in found.problems
    [events] = found.queues
    assert (events.depth.ready, events.is_consumed) == (None, True)


def test_a_broker_that_never_answers_makes_no_store_look_silent(
    handler: ListHandler, engine: TellingEngine, store: MemoryStore
) -> None:
    announce(store, "feed", "events")
    engine.gate.clear()

    # The stores have answered by then so long ago that others would ask them anew.
    found = StatusReader(handler).read(timeout=3.0)

    assert found.problems == ("The broker does not answer in time.",)
    assert found.outbox is not None
    assert found.lanes is not None
    assert found.dead_letters == 0
    assert [each.succeeded for each in found.subscriptions] == [0]


def test_a_broker_that_refuses_is_a_problem_and_the_rest_is_told(
    handler: ListHandler, engine: TellingEngine, store: MemoryStore
) -> None:
    announce(store, "feed", "events")
    engine.refusing = ConnectionError("gone")

    found = StatusReader(handler).read()

    assert found.problems == ("The broker cannot be asked: ConnectionError: gone",)
    assert found.dead_letters == 0


def refuse(*args: Any, **named: Any) -> Any:
    raise ConnectionError("no server\n\tat port 5432")


def test_one_reason_of_several_stores_is_told_once(
    handler: ListHandler, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.outbox, "status", refuse)
    monkeypatch.setattr(store.dead_letters, "count", refuse)

    found = StatusReader(handler).read()

    assert found.problems[0] == (
        "The outbox and the store of dead letters cannot be asked: ConnectionError: no server at port 5432"
    )
    assert not any("cannot be asked" in each for each in found.problems[1:])


def test_an_answer_is_good_for_a_while(handler: ListHandler, engine: TellingEngine) -> None:
    reader = StatusReader(handler)

    for _ in range(10):
        reader.read()

    assert len(engine.asked) < 10


def test_what_should_have_left_the_outbox_is_a_problem(handler: ListHandler, store: MemoryStore) -> None:
    announce(store, "feed", "events")
    now = datetime.now(UTC)
    old = Event("cat-fed", {}, dispatched_at=now - timedelta(minutes=5))
    store.outbox.add(
        [
            Entry(id="old", destination="list:events", envelope=seal(old, source="t")),
            Entry(id="elsewhere", destination="list:other", envelope=seal(old, source="t")),
            Entry(
                id="later", destination="list:events", envelope=seal(old, source="t"),
                due=now + timedelta(hours=1),
            ),
            Entry(id="unreadable", destination="list:events", envelope="?"),
        ]
    )  # fmt: skip

    found = StatusReader(handler).read()

    assert found.outbox is not None
    assert (found.outbox.waiting, found.outbox.overdue) == (4, 1)
    assert found.problems == ("1 event should have left the outbox a minute ago: no relay runs.",)


def test_a_function_that_fails_more_often_than_not_is_failing(
    handler: ListHandler, store: MemoryStore
) -> None:
    announce(store, "feed", "events")
    minute = int(datetime.now(UTC).timestamp()) // 60 * 60
    counted: dict[str, Any] = {"minute": minute, "event_name": "cat-fed", "subscription": "feed"}
    own = counted | {"handler": handler.name}
    others = counted | {"handler": "celery:other"}
    store.journal.write(
        [],
        [
            Count(measure="failed", count=3, **own), Count(measure="succeeded", count=2, **own),
            Count(measure="succeeded", count=9, **others),
        ],
    )  # fmt: skip

    [feed] = StatusReader(handler).read().subscriptions

    assert (feed.state, feed.succeeded, feed.failed) == ("failing", 2, 3)


def test_without_a_catalogue_nobody_knows_who_works() -> None:
    handler = ListHandler()
    handler.register(lambda event: None, event_name="cat", name="feed")

    found = StatusReader(handler).read()

    assert found.workers is None
    [events] = found.queues
    assert events.is_consumed is None
    [feed] = found.subscriptions
    assert (feed.name, feed.state, feed.workers) == ("feed", "unknown", None)
    assert found.problems == ()


def test_lanes_and_relays_are_told_of(handler: ListHandler, store: MemoryStore) -> None:
    announce(store, "feed", "events")
    at = datetime.now(UTC) - timedelta(minutes=5)
    event = Event("hello", {}, dispatched_at=at, headers={"orderingkey": "cat-7"})
    lane = Lane("list:events", "feed", "cat-7")
    store.lanes.put(
        {lane: [Item(event.id, seal(event, source="shop"), "events"), Item("2", "unreadable", "events")]}
    )
    store.catalogue.relay_heard("list:events", Relay(id="r", host="there", pid=9), behind=2.0)

    found = StatusReader(handler).read()

    assert found.lanes is not None
    assert found.lanes.lanes == 1
    assert found.lanes.oldest == pytest.approx(300, abs=60)
    assert found.relays is not None
    assert [(each.host, each.pid, each.behind) for each in found.relays] == [("there", 9, 2.0)]
    gauges = {each.gauge: each.value for each in StatusReader(handler).readings()}
    assert (gauges["lanes"], gauges["relays"]) == (1, 1)
    assert gauges["lanes.oldest"] == pytest.approx(300, abs=60)
