"""Delays and routes: the same on every engine and broker."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_events.event import Event
from tests.places import QueuePlace


@pytest.fixture
def handler_settings() -> dict[str, Any]:
    return {"routes": {"billing.*": "billing"}}


def test_routed_events_are_handled_by_way_of_their_queue(queue_place: QueuePlace) -> None:
    handled: list[str] = []

    @queue_place.handler.register(name="any")
    def any_(event: Event) -> None:
        handled.append(str(event.name))

    queue_place.dispatch("billing.paid")
    queue_place.dispatch("cat")

    assert sorted(handled) == ["billing.paid", "cat"]
    assert {(sent.task, sent.queue) for sent in queue_place.sent} == {
        ("fastapi_events.fan_out.billing", "billing"),
        ("any", "billing"),
        ("fastapi_events.fan_out", "events"),
        ("any", "events"),
    }


def test_a_routed_event_that_fails_stays_on_its_way(queue_place: QueuePlace) -> None:
    @queue_place.handler.register(name="hopeless")
    def hopeless(event: Event) -> None:
        raise ValueError("never")

    queue_place.dispatch("billing.paid")

    assert queue_place.reasons("billing") == ["ValueError: never"]
    assert queue_place.reasons("events") == []


@pytest.mark.parametrize("how", ["delay", "eta"])
def test_an_event_is_held_back_until_it_is_due(queue_place: QueuePlace, how: str) -> None:
    handled = threading.Event()
    at: list[datetime] = []

    @queue_place.handler.register(name="late")
    def late(event: Event) -> None:
        at.append(datetime.now(UTC))
        handled.set()

    due = datetime.now(UTC) + timedelta(seconds=1)
    queue_place.dispatch("hello", **({"delay": timedelta(seconds=1)} if how == "delay" else {"eta": due}))

    assert handled.wait(60)
    assert at[0] >= due - timedelta(milliseconds=100)  # the engines count in whole milliseconds, or less
