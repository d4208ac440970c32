"""What is asked of the brokers and stores of all handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fastapi_events.console.state import State
from fastapi_events.console.tallies import IN_ALL, OF_EVENTS
from fastapi_events.storage.journal import Action
from fastapi_events.storage.outbox import Entry
from tests.console.conftest import Page, Shop


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


@pytest.fixture
def two(shop: Shop) -> Shop:
    """Both handlers of the shop have had an event, which has failed."""
    shop.live("event-1")
    at: dict[str, Any] = {"handler": "celery:mail", "subscription": "shop.cook", "event_name": "user-gone"}
    shop.write(
        shop.record("foreign-1", event_name="user-gone"),
        shop.record("foreign-1", "published", handler="celery:mail", event_name="user-gone"),
        shop.record("foreign-1", "started", **at),
        shop.record("foreign-1", "failed", error="KeyError: 'foreign'", **at),
        shop.record("foreign-2", "lost", handler="celery:mail", event_name="user-gone", error="away"),
    )
    for each, name in (("event-1", "dramatiq:events"), ("foreign-3", "celery:mail")):
        shop.store.outbox.add([Entry(id=each, destination=name, envelope="{}", ordering_key="k")])
        shop.store.journal.note(
            Action(at=1.0, by=name, what="discarded", handler=name, subject=each, count=1)
        )
    return shop


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/", "event-1"),
        ("/events", "order-placed"),
        ("/events/recent", "event-1"),
        ("/events/recent?outcome=failed", "event-1"),
        ("/search?q=e", "event-1"),
        ("/outbox", "event-1"),
        ("/audit", "dramatiq:events"),
    ],
)
@pytest.mark.usefixtures("two")
def test_a_console_of_one_handler_shows_nothing_of_others_that_share_its_stores(
    look: Callable[[str], Page], look_at_one: Callable[[str], Page], path: str, shown: str
) -> None:
    page = look_at_one(path)

    assert (page.status, shown in page.source) == (200, True)
    assert not [each for each in ("foreign", "user-gone", "celery:mail") if each in page.source]
    if "q=e" not in path:
        assert any(each in look(path).source for each in ("foreign", "user-gone", "celery:mail"))


@pytest.mark.usefixtures("two")
def test_a_console_of_one_handler_counts_and_finds_its_own(
    look: Callable[[str], Page], look_at_one: Callable[[str], Page]
) -> None:
    alone, both = look_at_one("/"), look("/")

    assert "dispatched 2 handled 1 failed 1" in alone.text
    assert "Other handlers share the journal" in alone.text
    assert [row for row in alone.rows() if row.startswith("shop.cook")] == ["shop.cook 1 1 0"]
    assert "lost 0" in alone.head
    assert "dispatched 2 handled 1 failed 2" in both.text
    assert "Other handlers share the journal" not in both.text
    assert "lost 1" in both.head
    assert "/dead?subscription=shop.cook&handler=celery%3Amail" in both.links
    assert look("/event/foreign-1").status == 200
    assert look_at_one("/event/foreign-1").status == 404
    assert "foreign" not in look_at_one("/search?q=user-gone").text.replace("user-gone", "")
