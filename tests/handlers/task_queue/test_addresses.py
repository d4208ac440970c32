"""Where the events of a handler go."""

from __future__ import annotations

import pytest

from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.addresses import Addresses
from fastapi_events.handlers.task_queue.messages import message_id
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.retry import RetryPolicy
from fastapi_events.subscriptions.batch import batch
from fastapi_events.subscriptions.plan import plan
from fastapi_events.subscriptions.subscription import Subscription, Subscriptions
from tests.handlers.task_queue.fleets import fleet_of


def hear(event: Event) -> None: ...


def hear_many(events: list[Event]) -> None: ...


COOK = Subscription("cook", ("fish",), hear, plan(hear), queue="kitchen", retry=RetryPolicy(max_backoff=60))
EAT = Subscription("eat", ("fish",), hear, plan(hear))
MANY = Subscription("many", ("fish",), hear_many, plan(hear), batch=batch(hear_many, size=2, window=1.0))


@pytest.fixture
def addresses() -> Addresses:
    subscriptions = Subscriptions()
    for each in (COOK, EAT, MANY):
        subscriptions.add(each)
    return Addresses(
        Routes("events", {"bill*": "bills"}),
        subscriptions,
        fleet_of(subscriptions),
    )


def test_a_worker_consumes_the_queues_of_routes_and_of_subscriptions_each_once(addresses: Addresses) -> None:
    assert addresses.queues == ("events", "bills", "kitchen")
    assert addresses.fan_outs == {"fastapi_events.fan_out", "fastapi_events.fan_out.bills"}


def test_a_subscription_gets_its_message_on_its_own_queue_or_on_that_of_the_route(
    addresses: Addresses,
) -> None:
    fish, bill = Event("fish", id="1"), Event("bill", id="2")

    cook = addresses.to_subscription(COOK, fish, "{}", delay=3.0, failed=1)
    assert (cook.task, cook.queue, cook.id) == ("cook", "kitchen", message_id("1", "cook"))
    assert (cook.delay, cook.failed, cook.since) == (3.0, 1, fish.dispatched_at)
    assert addresses.to_subscription(EAT, fish, "{}").queue == "events"
    assert addresses.to_subscription(EAT, bill, "{}").queue == "bills"


def test_batches_are_cut_to_size_and_keep_their_identity(addresses: Addresses) -> None:
    items = [(Event("fish", id=str(number)), str(number)) for number in range(3)]

    once, again = (list(addresses.to_batches(MANY, items)) for _ in range(2))

    assert [message.argument for message in once] == ["[0,1]", "[2]"]
    assert [message.id for message in once] == [message.id for message in again]
    assert len({message.id for message in once}) == 2


def test_an_event_in_order_waits_for_a_subscription_where_its_message_would(addresses: Addresses) -> None:
    assert addresses.queue(EAT, "bill") == "bills"
    assert addresses.queue(COOK, "bill") == "kitchen"


def test_what_cannot_be_read_goes_back_to_fan_out_alone(addresses: Addresses) -> None:
    message = addresses.to_fan_out_of_unreadable("no json")

    assert (message.task, message.argument) == ("fastapi_events.fan_out", "[no json]")
