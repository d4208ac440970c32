"""Fan-out: who gets a message of their own, in which queue, and what becomes of what nobody can read."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

import pytest

from fastapi_events.envelope import seal
from fastapi_events.errors import StorageError, UnreadableEnvelope
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.addresses import Addresses
from fastapi_events.handlers.task_queue.messages import FAN_OUT_TURN, Message, message_id
from fastapi_events.handlers.task_queue.ordering import Order
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.handlers.task_queue.worker.fan_out import FanOut
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.lanes import Item, Lane
from fastapi_events.storage.memory import MemoryDeadLetters, MemoryLanes, MemoryOutbox
from fastapi_events.storage.outbox import Entry
from fastapi_events.subscriptions.batch import batch
from fastapi_events.subscriptions.plan import Plan, plan
from fastapi_events.subscriptions.subscription import Subscription, Subscriptions
from tests.full import full
from tests.handlers.task_queue.fleets import fleet_of
from tests.processes import until
from tests.recording import Diary

DESTINATION = "list:events"


class Broker(Sender):
    """Takes messages, unless it is `refusing`; each call is a trip."""

    def __init__(self) -> None:
        self.trips: list[list[Message]] = []
        self.refusing: Exception | None = None
        self.is_asked, self.answers = threading.Event(), threading.Event()
        self.answers.set()

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        self.is_asked.set()
        assert self.answers.wait(30)
        if self.refusing is not None:
            raise self.refusing
        if messages:
            self.trips.append(list(messages))

    def keep(self, letter: DeadLetter) -> None:
        raise AssertionError("fan-out keeps nothing")

    @property
    def sent(self) -> list[Message]:
        return [message for trip in self.trips for message in trip]

    def tasks(self) -> list[str]:
        return [message.task for message in self.sent]


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def subscriptions() -> Subscriptions:
    return Subscriptions()


Make = Callable[..., FanOut]


@pytest.fixture
def fan_out_with(broker: Broker, subscriptions: Subscriptions) -> Make:
    def make(
        routes: dict[str, str] | None = None,
        *,
        outbox: MemoryOutbox | None = None,
        lanes: MemoryLanes | None = None,
        keep_in: MemoryDeadLetters | None = None,
    ) -> FanOut:
        addresses = Addresses(Routes("events", routes), subscriptions, fleet_of(subscriptions))
        order = None if lanes is None else Order(lanes, DESTINATION, broker)
        return FanOut("ListHandler", addresses, broker, outbox=outbox, order=order, keep_in=keep_in)

    return make


def listens(
    pattern: str, name: str, queue: str | None = "events", *, many: int | None = None
) -> Subscription:
    def function(event) -> None:
        raise AssertionError("fan-out runs nothing")

    if many is None:
        return Subscription(name, (pattern,), function, plan(function), queue)
    taken = batch(function, size=many, window=0.0)
    return Subscription(name, (pattern,), function, Plan(function, False), queue, batch=taken)


def text_of(event: Event, **attributes: str) -> str:
    return seal(event, source="shop", extensions=attributes)


def read(event: Event, **attributes: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(text_of(event, **attributes))
    return value


def ordered(name: str, key: str = "user-42") -> Event:
    event = Event(name)
    event.ordering_key = key
    return event


# Who gets a message


def test_each_that_listens_gets_a_message_with_the_same_id_at_each_repetition(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker
) -> None:
    subscriptions.add(listens("cat", "feed"))
    subscriptions.add(listens("*", "log"))
    subscriptions.add(listens("dog", "walk"))
    fan_out, event = fan_out_with(), Event("cat", {"n": 1})

    fan_out([read(event)])
    fan_out([read(event)])

    first, second = broker.trips
    assert [(each.task, each.id) for each in first] == [
        ("feed", message_id(event.id, "feed")),
        ("log", message_id(event.id, "log")),
    ]
    assert json.loads(first[0].argument) == read(event)
    assert second == first


def test_the_messages_of_a_whole_batch_go_in_one_trip(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker
) -> None:
    subscriptions.add(listens("*", "log"))

    fan_out_with()([read(Event(name)) for name in "abc"])

    [trip] = broker.trips
    assert [json.loads(each.argument)["type"] for each in trip] == ["a", "b", "c"]


def test_what_is_fanned_out_while_the_broker_is_waited_for_goes_in_one_trip(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker
) -> None:
    subscriptions.add(listens("*", "log"))
    fan_out, events = fan_out_with(), [Event(f"event-{number}") for number in range(4)]
    broker.answers.clear()
    with ThreadPoolExecutor(len(events)) as pool:
        under_way = [pool.submit(fan_out, [read(event)]) for event in events]
        assert broker.is_asked.wait(30)
        until(lambda: len(fan_out._send._line.get()._waiting) == 3, "the others wait")
        broker.answers.set()
        for each in under_way:
            each.result(30)

    assert [len(trip) for trip in broker.trips] == [1, 3]
    assert sorted(each.id for each in broker.sent) == sorted(message_id(each.id, "log") for each in events)


def test_what_stands_in_an_envelope_that_we_do_not_know_is_passed_on(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker
) -> None:
    subscriptions.add(listens("*", "log"))

    fan_out_with()([read(Event("cat")) | {"subject": "tom", "extra": {"deep": [1]}}])

    assert json.loads(broker.sent[0].argument)["extra"] == {"deep": [1]}


def test_an_event_that_nobody_listens_to_is_told_and_sends_nothing(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker, diary: Diary
) -> None:
    subscriptions.add(listens("dog", "walk"))

    fan_out_with()([read(Event("cat"))])

    assert broker.trips == []
    assert diary.of("unmatched") == [("cat", {"handler": "ListHandler"})]


def test_a_broker_that_refuses_leaves_the_message_to_be_tried_again(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker
) -> None:
    subscriptions.add(listens("*", "log"))
    broker.refusing = ConnectionError("refused")

    with pytest.raises(ConnectionError):
        fan_out_with()([read(Event("cat"))])


# In which queue


def test_a_queue_of_its_own_comes_before_the_route_and_the_route_before_the_default(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker
) -> None:
    subscriptions.add(listens("*", "own", "slow"))
    subscriptions.add(listens("*", "follows", "events"))
    subscriptions.add(listens("*", "has none", None))
    fan_out = fan_out_with({"billing.*": "billing"})

    fan_out([read(Event("billing.paid"))])
    fan_out([read(Event("cat"))])

    assert [(each.task, each.queue) for each in broker.sent] == [
        ("own", "slow"),
        ("follows", "billing"),
        ("has none", "billing"),
        ("own", "slow"),
        ("follows", "events"),
        ("has none", "events"),
    ]


# Many at once


def test_those_who_take_many_get_messages_of_as_many(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker
) -> None:
    subscriptions.add(listens("*", "insert", many=2))
    events = [Event(name) for name in "abc"]

    fan_out_with()([read(event) for event in events])

    first, second = broker.sent
    assert [[each["type"] for each in json.loads(one.argument)] for one in (first, second)] == [
        ["a", "b"],
        ["c"],
    ]
    assert first.id == message_id("insert", events[0].id, events[1].id)
    assert second.id == message_id("insert", events[2].id)


def test_a_batch_is_of_one_queue(fan_out_with: Make, subscriptions: Subscriptions, broker: Broker) -> None:
    subscriptions.add(listens("*", "insert", many=10))

    fan_out_with({"billing.*": "billing"})([read(Event("billing.paid")), read(Event("cat"))])

    assert sorted(each.queue for each in broker.sent) == ["billing", "events"]


# What nobody can read

BROKEN: list[Any] = [{"specversion": "0.3"}, "text", 7, None, {"specversion": "1.0", "id": "1"}]


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_what_cannot_be_read_and_is_alone_is_an_error(fan_out_with: Make, broken: Any) -> None:
    with pytest.raises(UnreadableEnvelope):
        fan_out_with()([broken])


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_what_cannot_be_read_goes_on_alone_and_the_others_arrive(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker, broken: Any
) -> None:
    # Given a batch of which one cannot be read
    subscriptions.add(listens("*", "log"))
    fan_out = fan_out_with()

    fan_out([read(Event("a")), broken, read(Event("b"))])

    # Then the others arrive, and it is in a message of its own, which is given up alone
    assert broker.tasks() == ["log", "log", "fastapi_events.fan_out"]
    alone = broker.sent[-1]
    [kept] = json.loads(alone.argument)
    assert kept == (broken if isinstance(broken, dict) else {"unreadable": broken})
    with pytest.raises(UnreadableEnvelope):
        fan_out([kept])


def test_several_that_cannot_be_read_are_told_apart(fan_out_with: Make, broker: Broker) -> None:
    fan_out_with()([1, 2])

    assert len({each.id for each in broker.sent}) == 2


def test_an_empty_batch_is_nothing(fan_out_with: Make, broker: Broker) -> None:
    fan_out_with()([])

    assert broker.trips == []


# Receipts


def held(event: Event) -> MemoryOutbox:
    outbox = MemoryOutbox()
    outbox.add([Entry(id=event.id, destination=DESTINATION, envelope=text_of(event), confirm="handled")])
    return outbox


def test_those_who_have_run_are_left_out(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker
) -> None:
    event = Event("cat")
    outbox = held(event)
    subscriptions.add(listens("cat", "one"))
    subscriptions.add(listens("cat", "two"))
    outbox.receipt(event.id, DESTINATION, "one")

    fan_out_with(outbox=outbox)([read(event, receiptto=DESTINATION)])

    assert broker.tasks() == ["two"]
    outbox.receipt(event.id, DESTINATION, "two")
    assert outbox.list() == []  # it knew of both


def test_an_event_whose_subscriptions_have_all_run_is_done_and_not_unmatched(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker, diary: Diary
) -> None:
    event = Event("cat")
    outbox = held(event)
    subscriptions.add(listens("cat", "one"))
    outbox.receipt(event.id, DESTINATION, "one")

    fan_out_with(outbox=outbox)([read(event, receiptto=DESTINATION)])

    assert (broker.trips, outbox.list(), diary.of("unmatched")) == ([], [], [])


def test_an_event_that_wants_no_receipts_does_not_bother_the_outbox(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker
) -> None:
    class Broken(MemoryOutbox):
        def expect_all(self, *args: Any) -> Any:
            raise StorageError("the database is gone")

    subscriptions.add(listens("*", "one"))
    fan_out = fan_out_with(outbox=Broken())

    fan_out([read(Event("free"))])
    with pytest.raises(StorageError):
        fan_out([read(Event("kept"), receiptto=DESTINATION)])

    assert broker.tasks() == ["one"]  # the other is tried again, since nobody knows who has run


def test_without_an_outbox_receipts_are_nobodys_business(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker
) -> None:
    subscriptions.add(listens("*", "one"))

    fan_out_with()([read(Event("cat"), receiptto=DESTINATION)])

    assert broker.tasks() == ["one"]


# In order


def item(event: Event, queue: str = "events", **attributes: str) -> Item:
    """What publishing puts into a lane."""
    return Item(event.id, text_of(event, **attributes), queue)


def test_an_event_goes_on_into_the_lanes_of_its_subscriptions(
    fan_out_with: Make, subscriptions: Subscriptions
) -> None:
    fan_out = fan_out_with({"bill*": "bills"}, lanes=MemoryLanes())
    subscriptions.add(listens("*", "one"))
    subscriptions.add(listens("*", "two", "kitchen"))
    event = ordered("bill")

    _, follows = fan_out.follows(item(event))

    assert follows == {
        Lane(DESTINATION, "one", "user-42"): [item(event, "bills")],
        Lane(DESTINATION, "two", "user-42"): [item(event, "kitchen")],
    }


def test_an_event_in_order_that_nobody_listens_to_is_said_to_be_unheard(
    fan_out_with: Make, subscriptions: Subscriptions, diary: Diary
) -> None:
    subscriptions.add(listens("heard", "one"))

    assert fan_out_with(lanes=MemoryLanes()).follows(item(ordered("unheard")))[1] == {}

    assert [name for name, _ in diary.of("unmatched")] == ["unheard"]


def test_an_event_in_order_goes_to_those_who_have_given_no_receipt(
    fan_out_with: Make, subscriptions: Subscriptions
) -> None:
    event = ordered("first")
    subscriptions.add(listens("*", "one"))
    subscriptions.add(listens("*", "two"))
    outbox = held(event)
    outbox.expect(event.id, DESTINATION, ["one", "two"])
    outbox.receipt(event.id, DESTINATION, "one")
    fan_out = fan_out_with(lanes=MemoryLanes(), outbox=outbox)

    _, follows = fan_out.follows(item(event, receiptto=DESTINATION))

    assert [lane.target for lane in follows] == ["two"]


def test_an_event_with_a_key_in_a_message_is_put_into_its_lane(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker
) -> None:
    # Given what somebody has produced who knows nothing of lanes
    lanes, event = MemoryLanes(), ordered("a")
    subscriptions.add(listens("*", "one"))

    fan_out_with(lanes=lanes)([read(event), read(Event("free"))])

    assert broker.tasks() == ["one", "fastapi_events.fan_out"]  # the second is a bell
    [taken] = lanes.take([Lane(DESTINATION, FAN_OUT_TURN, "user-42")], token="a", lease=9, limit=9)
    assert [each.id for each in taken.items] == [event.id]


def test_an_event_whose_lane_cannot_be_reached_comes_back_alone(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker
) -> None:
    subscriptions.add(listens("*", "one"))
    event = ordered("a")

    fan_out_with(lanes=full(MemoryLanes()))([read(event), read(Event("free"))])

    free, again = broker.sent
    assert free.task == "one"
    assert (again.task, json.loads(again.argument)[0]["id"]) == ("fastapi_events.fan_out", event.id)
    assert again.delay > 0


# Names


def test_every_spelling_of_an_enum_member_is_heard(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker
) -> None:
    class Animal(Enum):
        CAT = "cat"

    subscriptions.add(listens("cat", "one"))

    fan_out_with()([read(Event(Animal.CAT))])

    assert broker.tasks() == ["one"]


def test_what_nobody_listens_to_is_kept_once_where_it_is_asked_for(
    fan_out_with: Make, subscriptions: Subscriptions, broker: Broker, diary: Diary
) -> None:
    subscriptions.add(listens("cat", "feed"))
    kept = MemoryDeadLetters()
    fan_out, unheard = fan_out_with({"dog*": "dogs"}, keep_in=kept), Event("dog-fed", {"n": 1})

    fan_out([read(Event("cat")), read(unheard)])
    fan_out([read(unheard)])

    (letter,) = kept.list()
    assert (letter.event_id, letter.event_name, letter.queue) == (unheard.id, "dog-fed", "dogs")
    assert letter.reason == "nobody listens to 'dog-fed'"
    assert broker.tasks() == ["feed"]
    assert [name for name, _ in diary.of("unmatched")] == ["dog-fed", "dog-fed"]

    # what is kept is a message for the fan-out, which finds who listens by then
    subscriptions.add(listens("dog*", "walk"))
    fan_out(letter.argument)

    assert broker.tasks() == ["feed", "walk"]
