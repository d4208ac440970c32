"""Routes: which queue an event travels through."""

from __future__ import annotations

import json

import pytest

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.scope import collect_events
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
    handler.fan_out(fan_out.argument)

    assert {(each.task, each.queue) for each in handler.sent} == {("follows", "billing"), ("stays", "own")}


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
