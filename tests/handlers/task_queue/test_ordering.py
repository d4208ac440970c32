"""Turns: once an event, and in order by key."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_events.errors import StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import Message
from fastapi_events.handlers.task_queue.worker.outcome import NO_RETRY, TryLater
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.storage.lanes import UNHEARD_SECONDS
from fastapi_events.storage.memory import MemoryDeadLetters, MemoryInbox, MemoryLanes, MemoryOutbox
from tests.handlers.task_queue.broker import ListEngine, ListHandler
from tests.recording import Diary


def ordered(name: str, payload: Any, key: str) -> Event:
    event = Event(name, payload)
    event.ordering_key = key
    return event


def flush(handler: ListHandler, *events: Event) -> None:
    with collect_events([handler]) as backlog:
        for event in events:
            backlog.append(event)


def take(handler: ListHandler, message: Message) -> None:
    """Do what a worker does with a message."""
    handler.engine.actors[message.task].run(message.argument)


# Once


def test_a_completed_event_is_skipped(diary: Diary) -> None:
    handler = ListHandler(inbox=MemoryInbox())
    ran: list[str] = []
    handler.register(lambda event: ran.append(event.id), name="one", once=True)
    handler.register(lambda event: ran.append(event.id), name="two")

    flush(handler, Event("a"))
    handler.worker.fan_out(handler.sent.pop().argument)
    handler.sent.extend(list(handler.sent))  # each message is delivered twice
    handler.run()

    assert len(ran) == 3
    assert [rest["subscription"] for _, rest in diary.of("skipped")] == ["one"]


def test_a_failed_event_is_tried_again() -> None:
    handler = ListHandler(inbox=MemoryInbox())
    ran: list[str] = []

    @handler.register(name="one", once=True)
    def one(event: Event) -> None:
        ran.append(event.id)
        if len(ran) == 1:
            raise ValueError("not yet")

    flush(handler, Event("a"))
    handler.worker.fan_out(handler.sent.pop().argument)
    [message] = handler.sent
    with pytest.raises(ValueError, match="not yet"):
        handler.worker.perform(handler.subscriptions.named("one"), message.argument)  # type: ignore[arg-type]
    handler.run()

    assert len(ran) == 2


def test_two_deliveries_at_once_do_not_run_side_by_side() -> None:
    handler = ListHandler(inbox=MemoryInbox())
    ran: list[str] = []

    @handler.register(name="one", once=True)
    def one(event: Event) -> None:
        ran.append(event.id)
        if len(ran) == 1:  # the second delivery comes while the first one runs
            with pytest.raises(TryLater):
                handler.worker.perform(handler.subscriptions.named("one"), message.argument)  # type: ignore[arg-type]

    flush(handler, Event("a"))
    handler.worker.fan_out(handler.sent.pop().argument)
    [message] = handler.sent
    handler.run()

    assert len(ran) == 1


# Order


def test_the_events_of_many_keys_take_one_bell() -> None:
    handler = ListHandler(lanes=MemoryLanes())
    handler.register(lambda event: None, name="one")

    flush(handler, *[ordered("a", n, "k") for n in range(5)], ordered("a", 0, "other"))

    [bell] = handler.sent
    assert json.loads(bell.argument) == {"bell": ["k", "other"], "queue": "events"}


class Shop:
    """A handler with two functions, one of which fails now and then, and bells that are lost or doubled.

    Parameters:
        seed: Of all that happens.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.clock = Clock()
        self.handler = ListHandler(lanes=MemoryLanes(clock=self.clock), retry=RetryPolicy(max_retries=1_000))
        self.got: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.left = {"x": list(range(10)), "y": list(range(10))}
        self.handler.register(self.function("steady", 0.0), name="steady")
        self.handler.register(self.function("flaky", 0.3), name="flaky")

    def function(self, name: str, failing: float) -> Callable[[Event], None]:
        def run(event: Event) -> None:
            if self.chance.random() < failing:
                raise ValueError("not yet")
            self.got[name, str(event.ordering_key)].append(event.payload)

        return run

    def dispatch(self) -> None:
        key = self.chance.choice([key for key, numbers in self.left.items() if numbers])
        flush(self.handler, *[ordered("a", self.left[key].pop(0), key) for _ in range(2)])

    def deliver(self) -> None:
        message = self.handler.sent.pop(self.chance.randrange(len(self.handler.sent)))
        fate = self.chance.random()
        if fate < 0.1:
            self.handler.sent.append(message)
        if fate < 0.9:
            take(self.handler, message)

    @property
    def is_done(self) -> bool:
        return sum(map(len, self.got.values())) == 40


@pytest.mark.parametrize("seed", range(20))
def test_each_function_gets_the_events_of_a_key_in_order_whatever_the_broker_does(seed: int) -> None:
    shop = Shop(seed)

    while not shop.is_done:
        if any(shop.left.values()) and (not shop.handler.sent or shop.chance.random() < 0.3):
            shop.dispatch()
        elif shop.handler.sent:
            shop.deliver()
        else:
            shop.clock.now += 60
            shop.handler.look_after_lanes()

    for numbers in shop.got.values():
        assert numbers == list(range(10))


def test_an_event_that_nobody_listens_to_does_not_stand_in_the_way_of_those_behind_it() -> None:
    handler = ListHandler(lanes=MemoryLanes())
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), event_name="heard", name="one")

    flush(handler, ordered("unheard", 1, "k"), ordered("heard", 2, "k"), ordered("heard", 3, "k"))
    handler.run()

    assert got == [2, 3]


def test_who_is_given_up_lets_the_next_one_go_on() -> None:
    handler = ListHandler(lanes=MemoryLanes(), retry=NO_RETRY)
    got: list[int] = []

    @handler.register(name="one")
    def one(event: Event) -> None:
        if event.payload == 1:
            raise ValueError("never")
        got.append(event.payload)

    flush(handler, ordered("a", 1, "k"), ordered("a", 2, "k"))
    handler.run()

    assert got == [2]
    assert [letter.reason for letter in handler.engine.kept] == ["ValueError: never"]


def test_a_lane_whose_bell_was_lost_is_rung_again() -> None:
    clock = Clock()
    handler = ListHandler(lanes=MemoryLanes(clock=clock))
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), name="one")

    flush(handler, ordered("a", 1, "k"))
    handler.sent.clear()
    handler.look_after_lanes()
    assert handler.sent == []  # it may still be on its way

    clock.now += UNHEARD_SECONDS
    handler.look_after_lanes()
    handler.run()
    assert got == [1]


def test_a_process_without_the_functions_rings_where_their_workers_listen() -> None:
    clock = Clock()
    lanes = MemoryLanes(clock=clock)
    worker, relay = ListHandler(lanes=lanes), ListHandler(lanes=lanes)
    worker.register(lambda event: None, name="one", queue="kitchen")
    flush(worker, ordered("a", 1, "k"))
    take(worker, worker.sent.pop())
    worker.sent.clear()

    clock.now += UNHEARD_SECONDS
    assert (relay.look_after_lanes(), worker.look_after_lanes()) == (1, 0)  # one rings, not each

    assert [(each.task, each.queue) for each in relay.sent] == [("one", "kitchen")]


def test_a_broker_that_is_away_delays_events_and_costs_none_their_place() -> None:
    clock = Clock()
    handler = ListHandler(lanes=MemoryLanes(clock=clock))
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), name="one")

    handler.refusing = ConnectionError("away")
    flush(handler, ordered("a", 1, "k"))
    handler.look_after_lanes()
    flush(handler, ordered("a", 2, "k"))
    handler.refusing = None
    handler.look_after_lanes()  # at once: nobody has to wait for what could not be rung
    flush(handler, ordered("a", 3, "k"))
    handler.run()

    assert got == [1, 2, 3]


def test_what_a_stranger_produced_is_put_in_order_as_well() -> None:
    handler = ListHandler(lanes=MemoryLanes())
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), name="one")

    foreign = [
        {"specversion": "1.0", "id": str(n), "type": "a", "partitionkey": "k", "data": n} for n in (1, 2)
    ]
    handler.worker.fan_out(json.dumps(foreign))
    handler.run()

    assert got == [1, 2]


class Away(MemoryLanes):
    """Lanes that can be taken away."""

    is_away = False

    def put(self, items: Any) -> Any:
        if self.is_away:
            raise StorageError("away")
        return super().put(items)


def test_order_survives_lanes_that_are_away_and_the_outbox() -> None:
    lanes = Away()
    handler = ListHandler(lanes=lanes, outbox=MemoryOutbox(), relay=False)
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), name="one")

    lanes.is_away = True
    flush(handler, ordered("a", 1, "k"))
    lanes.is_away = False
    flush(handler, ordered("a", 2, "k"))  # the lanes are back, and it must not pass the first
    handler.run()
    assert got == []
    while handler.relay_thread().step():
        pass
    flush(handler, ordered("a", 3, "k"))
    handler.run()
    while handler.relay_thread().step():
        handler.run()

    assert got == [1, 2, 3]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_bell_that_is_heard_at_once_finds_its_lane() -> None:
    # Given a broker so fast that a message is taken while it is still being sent
    class Fast(ListEngine):
        def send(self, messages: Any, *, timeout: float | None = None) -> None:
            for message in messages:
                take(handler, message)

    handler = ListHandler(Fast(), lanes=MemoryLanes())
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), name="one")

    flush(handler, *[ordered("a", n, "k") for n in range(5)])

    assert got == list(range(5))


def test_a_fan_out_that_was_given_up_waits_again_when_it_is_replayed() -> None:
    class Broken(MemoryOutbox):
        failing = True

        def expect(self, *about: Any) -> set[str]:
            if self.failing:
                raise StorageError("away")
            return super().expect(*about)

    outbox = Broken()
    handler = ListHandler(
        lanes=MemoryLanes(), dead_letters=MemoryDeadLetters(), outbox=outbox, relay=False, confirm="handled"
    )
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), name="one")

    # Given a fan-out that was given up after all its attempts, so that the next event went on
    flush(handler, ordered("a", 1, "k"))
    handler.relay_thread().step()
    handler.run()
    outbox.failing = False
    flush(handler, ordered("a", 2, "k"))
    handler.relay_thread().step()
    handler.run()
    assert got == [2]

    # When it is replayed
    handler.replay(handler.dead_letters.list())  # type: ignore[union-attr]
    handler.run()

    assert got == [2, 1]


def test_a_store_that_has_forgotten_its_lanes_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    class Forgetful(MemoryLanes):
        name = "one"

        def incarnation(self) -> str:
            return self.name

    lanes = Forgetful()
    handler = ListHandler(lanes=lanes)
    handler.look_after_lanes()
    handler.look_after_lanes()
    assert caplog.text == ""

    lanes.name = "another"
    handler.look_after_lanes()

    assert "lanes of list:events has forgotten what it held" in caplog.text
