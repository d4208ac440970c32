"""Routes: which queue an event travels through."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

import pytest

from fastapi_events.dispatcher import dispatch
from fastapi_events.envelope import seal
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryLanes
from tests.handlers.task_queue.broker import ListHandler
from tests.places import QueuePlace


def test_the_first_pattern_that_matches_decides() -> None:
    routes = Routes("events", {"billing.invoice": "invoices", "billing.*": "billing"})

    assert routes.queue_for("billing.invoice") == "invoices"
    assert routes.queue_for("billing.refund") == "billing"
    assert routes.queue_for("cat") == "events"
    assert list(routes) == ["events", "invoices", "billing"]


def test_a_route_without_a_queue_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'billing\.\*': ''.*name of a queue"):
        Routes("events", {"billing.*": ""})


async def _flush(handler: ListHandler) -> None:
    async with collect_events([handler]):
        dispatch("billing.paid", payload=1)
        dispatch("cat", payload=2)
        dispatch("billing.refunded", payload=3)


@pytest.mark.anyio
async def test_a_flush_is_cut_by_queue_in_order() -> None:
    handler = ListHandler(routes={"billing.*": "billing"})

    await _flush(handler)

    sent = {
        each.task: (each.queue, [one["data"] for one in json.loads(each.argument)]) for each in handler.sent
    }
    assert sent == {
        "fastapi_events.fan_out.billing": ("billing", [1, 3]),
        "fastapi_events.fan_out": ("events", [2]),
    }


@pytest.mark.anyio
async def test_messages_to_subscriptions_take_the_same_way_unless_they_have_their_own() -> None:
    handler = ListHandler(routes={"billing.*": "billing"})
    handler.register(lambda event: None, name="follows")
    handler.register(lambda event: None, name="stays", queue="own")

    await _flush(handler)
    fan_out = next(each for each in handler.sent if each.queue == "billing")
    handler.sent.clear()
    handler.worker.fan_out(fan_out.argument)

    assert {(each.task, each.queue) for each in handler.sent} == {("follows", "billing"), ("stays", "own")}


@pytest.mark.anyio
async def test_messages_in_turn_take_the_same_way_too() -> None:
    handler = ListHandler(routes={"billing.*": "billing"}, lanes=MemoryLanes())
    handler.register(lambda event: None, name="follows")
    handler.register(lambda event: None, name="stays", queue="own")

    async with collect_events([handler]):
        dispatch("billing.paid", ordering_key="user-42")
    [fan_out] = handler.sent
    handler.sent.clear()
    handler.engine.actors[fan_out.task].run(fan_out.argument)

    assert fan_out.queue == "billing"
    assert {(each.task, each.queue) for each in handler.sent} == {("follows", "billing"), ("stays", "own")}


def test_an_event_whose_batch_has_failed_takes_the_same_way_alone() -> None:
    handler = ListHandler(routes={"billing.*": "billing"})

    @handler.register(name="follows", batch=10, batch_window=0.0)
    def follows(events: list[Event]) -> None:
        raise ValueError("no")

    @handler.register(name="stays", queue="own", batch=10, batch_window=0.0)
    def stays(events: list[Event]) -> None:
        raise ValueError("no")

    for name in ("follows", "stays"):
        subscription = handler.subscriptions.named(name)
        assert subscription is not None
        handler.worker.perform(subscription, f"[{seal(Event('billing.paid'), source='shop')}]")

    assert [(each.task, each.queue) for each in handler.sent] == [("follows", "billing"), ("stays", "own")]


@pytest.mark.parametrize(
    ("own", "goes_to"), [(None, "billing"), ("", "billing"), ("events", "billing"), ("slow", "slow")]
)
def test_a_queue_is_a_subscriptions_own_unless_it_is_the_default(own: str | None, goes_to: str) -> None:
    assert Routes("events", {"billing.*": "billing"}).to_subscription(own, "billing") == goes_to


@pytest.mark.parametrize("name", ["billing.paid", "cat"])
def test_an_envelope_takes_the_way_of_its_event(name: str) -> None:
    routes = Routes("events", {"billing.*": "billing"})

    assert routes.queue_for_envelope(seal(Event(name), source="shop")) == routes.queue_for(name)


def test_without_routes_nobody_reads_the_envelope() -> None:
    assert Routes("events").queue_for_envelope("no JSON") == "events"


class Animal(Enum):
    CAT = "cat"


def test_an_enum_member_stands_for_its_name() -> None:
    routes = Routes("events", {Animal.CAT: "cats"})  # type: ignore[dict-item]  # accepted all the same

    assert [routes.queue_for(name) for name in (Animal.CAT, "cat", "dog")] == ["cats", "cats", "events"]


@pytest.mark.parametrize("target", [" ", "a\nb", None, 7, ""])
def test_what_is_no_queue_is_refused(target: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected the name of a queue"):
        Routes("events", {"a": target})


@pytest.mark.parametrize("pattern", [None, 7, ""])
def test_what_is_no_pattern_is_refused(pattern: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{pattern!r}.*expected a pattern"):
        Routes("events", {pattern: "a"})


def test_a_queue_with_several_patterns_is_named_once() -> None:
    assert list(Routes("events", {"a": "x", "b": "x", "c": "events"})) == ["events", "x"]


def test_workers_consume_every_route(queue_place: QueuePlace) -> None:
    # Given a handler with a route, and a function without a queue of its own
    place = queue_place
    handled: list[str] = []
    routed = type(place.handler)(
        getattr(place, "broker", None) or place.handler.app, queue="front", routes={"billing.*": "back"}
    )

    @routed.register(name="work")
    def work(event: Event) -> None:
        handled.append(str(event.name))

    # Then both queues are among those that a worker consumes
    assert routed.queues == ("front", "back")
