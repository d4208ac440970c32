"""What is asked of the brokers and stores of all handlers."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from fastapi_events.console.state import State
from fastapi_events.console.tallies import IN_ALL, OF_EVENTS
from tests.console.conftest import Shop


def test_each_handler_is_asked_by_itself(shop: Shop, state: State) -> None:
    shop.engine.failing = ConnectionError("away")

    first, second = asyncio.run(state.statuses())

    assert first.told.value is not None
    assert second.told.value is not None
    assert any("away" in each for each in first.told.value.problems)
    assert [each.depth.queue for each in second.told.value.queues] == ["mail"]


def test_a_shared_journal_is_asked_once(shop: Shop, state: State) -> None:
    shop.write(shop.record("a"))

    told = asyncio.run(state.counts(timedelta(hours=1), OF_EVENTS))

    assert told is not None
    assert told.value is not None
    assert told.value.events["order-placed"].happened == {"dispatched": 1}


def test_without_a_journal_there_is_nothing_to_be_told(shop: Shop) -> None:
    assert asyncio.run(State([shop.bare]).counts(timedelta(hours=1), IN_ALL)) is None


def test_the_fleet_of_each_handler(shop: Shop, state: State) -> None:
    found = asyncio.run(state.fleets())
    [bare] = asyncio.run(State([shop.bare]).fleets())

    assert [len(each.told.value.workers) for each in found if each.told.value] == [1, 1]
    assert (bare.told.value, bare.told.trouble) == (None, None)
    assert state.named("celery:mail") is shop.mail
    assert state.named("nobody") is None
