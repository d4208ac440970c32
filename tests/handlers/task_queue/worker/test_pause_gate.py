"""A function pauses itself on errors that say so; after the pause one event is tried."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from fastapi_events import clock
from fastapi_events.errors import BatchFailed, ConfigurationError, InvalidSetting, StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.worker.outcome import TryLater
from fastapi_events.handlers.task_queue.worker.pause_gate import LONGEST_LOOK_SECONDS, TRIAL_SECONDS
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.memory import MemoryCatalogue, MemoryJournal
from fastapi_events.testing import InlineWorker
from tests.handlers.task_queue.broker import ListHandler


class ProviderDown(Exception):
    """What the function raises while its provider is down."""


class Shop:
    """A handler with a function that pauses itself, a sibling, and a clock."""

    def __init__(self, **settings: Any) -> None:
        self.now = 1_000_000.0
        self.catalogue = MemoryCatalogue(clock=lambda: self.now)
        self.handler = ListHandler(**{"catalogue": self.catalogue, **settings})
        self.raises: Exception | None = ProviderDown("no answer")
        self.billed: list[Any] = []
        self.waits: list[float] = []
        self.handler.register(
            event_name="hello", name="bill", pause_on=(ProviderDown,), pause_for=timedelta(minutes=10)
        )(self.bill)

    def bill(self, event: Event) -> None:
        self.billed.append(event.payload)
        if self.raises is not None:
            raise self.raises

    def attempt(self, payload: Any = None) -> str:
        """An event's attempt: what becomes of it."""
        subscription = self.handler.subscriptions.named("bill")
        assert subscription is not None
        self.handler.fleet.refresh()
        before = len(self.billed)
        asyncio.run(self.handler.handle(Event("hello", payload)))
        try:
            self.handler.run()
        except TryLater as later:
            self.waits.append(later.seconds)
            return "paused" if len(self.billed) > before else "waits"
        except Exception as error:
            return type(error).__name__
        return "done"


def test_it_pauses_itself_and_counts_no_attempt(caplog: pytest.LogCaptureFixture) -> None:
    journal = MemoryJournal()
    shop = Shop(journal=journal, journal_payloads=False)

    with caplog.at_level(logging.INFO):
        assert shop.attempt() == "paused"
    assert "bill has raised ProviderDown, and starts nothing for 600 s" in caplog.text
    assert [shop.attempt(), len(shop.billed)] == ["waits", 1]
    assert all(0 < each <= 1.25 * LONGEST_LOOK_SECONDS for each in shop.waits)
    [pause] = shop.handler.paused()
    assert (pause.until, pause.by, pause.half_open) == (shop.now + 600, "ProviderDown", True)
    assert [(each.what, each.by) for each in journal.actions(limit=5)] == [("paused", "ProviderDown")]


def test_after_the_pause_one_is_tried_and_all_wait_again_where_it_meets_the_error() -> None:
    shop = Shop()
    shop.attempt()

    shop.now += 601
    assert [shop.attempt(), shop.attempt()] == ["paused", "waits"]

    shop.now += 601
    shop.raises = None
    assert [shop.attempt(), shop.attempt()] == ["done", "done"]
    assert shop.handler.paused() == ()


def test_others_wait_while_one_is_tried() -> None:
    shop = Shop()
    shop.attempt()
    shop.now += 601
    gate, subscription = shop.handler.worker.gate, shop.handler.subscriptions.named("bill")
    assert subscription is not None
    shop.handler.fleet.refresh()

    with gate.passing(subscription):
        assert shop.attempt() == "waits"
        shop.now += TRIAL_SECONDS + 1  # nothing was heard of it
        shop.raises = None
        assert shop.attempt() == "done"


def test_an_error_that_asks_for_no_pause_is_an_answer() -> None:
    shop = Shop()
    shop.attempt()
    shop.now += 601
    shop.raises = ValueError("the order has no number")

    assert shop.attempt() == "ValueError"
    assert shop.handler.paused() == ()


def test_an_error_in_a_group_asks_for_it_as_well() -> None:
    shop = Shop()
    shop.raises = ExceptionGroup("several", [ValueError(), ProviderDown()])

    assert shop.attempt() == "paused"
    assert shop.handler.paused()[0].by == "ProviderDown"


def test_what_somebody_has_paused_stays_so() -> None:
    shop = Shop()
    subscription = shop.handler.subscriptions.named("bill")
    assert subscription is not None

    with pytest.raises(TryLater), shop.handler.worker.gate.passing(subscription):
        shop.handler.pause("bill", by="ada")
        raise ProviderDown

    assert [(each.by, each.until) for each in shop.handler.paused()] == [("ada", None)]


def test_events_of_a_batch_that_met_the_error_wait_and_the_others_do_not() -> None:
    shop = Shop()
    ran: list[list[Any]] = []
    down = True

    def store(events: list[Event]) -> None:
        ran.append([each.payload for each in events])
        if down:
            raise BatchFailed({each.id: ProviderDown() for each in events if each.payload != 1})

    shop.handler.register(
        event_name="many", name="store", batch=10, batch_window=0, pause_on=ProviderDown, pause_for=60
    )(store)
    asyncio.run(shop.handler.handle_many([Event("many", number) for number in range(3)]))

    message = shop.handler.sent.pop(0)
    shop.handler.engine.actors[message.task].run(message.argument)
    [message] = shop.handler.sent
    shop.handler.sent.clear()
    shop.handler.engine.actors[message.task].run(message.argument)

    apart = list(shop.handler.sent)
    assert ran == [[0, 1, 2]]
    assert [each.failed for each in apart] == [0, 0]
    assert all(each.delay > 0 for each in apart)
    assert [each.subscription for each in shop.handler.paused()] == ["store"]
    down = False
    shop.now += 61
    shop.handler.fleet.refresh()
    shop.handler.run()
    assert ran[1:] == [[0], [2]]


def test_its_events_wait_while_the_catalogue_is_away(caplog: pytest.LogCaptureFixture) -> None:
    class Away(MemoryCatalogue):
        def _change(self, *_: Any) -> None:
            raise StorageError("gone")

    shop = Shop(catalogue=Away())

    assert shop.attempt() == "paused"
    assert "its pause cannot be kept: StorageError: gone" in caplog.text


def test_without_a_catalogue_each_process_pauses_for_itself() -> None:
    shop = Shop(catalogue=None)

    assert [shop.attempt(), shop.attempt()] == ["paused", "waits"]
    with pytest.raises(ConfigurationError, match="no catalogue"):
        shop.handler.paused()


def test_in_a_test_the_pause_passes_by_the_tests_clock() -> None:
    handler = ListHandler()
    failures = [ProviderDown(), ProviderDown()]
    times: list[float] = []

    @handler.register(
        event_name="hello", name="bill", retry=RetryPolicy(max_retries=0), pause_on=ProviderDown
    )
    def bill(event: Event) -> None:
        times.append(clock.timestamp())
        if failures:
            raise failures.pop()

    with InlineWorker(handler) as worker:
        run = worker.emit("hello")

    run.assert_succeeded(bill)
    assert [later - earlier >= 60 for earlier, later in pairwise(times)] == [True, True]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pause_on": "ProviderDown"}, "expected a class of errors"),
        ({"pause_on": KeyboardInterrupt}, "derive from Exception"),
        ({"pause_for": 10}, "pass the errors as well"),
        ({"pause_on": ProviderDown, "pause_for": 0}, "pause_for"),
        ({"pause_onn": ProviderDown}, "did you mean 'pause_on'"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_written(options: Any, words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        ListHandler().register(event_name="hello", **options)(print)


def test_the_same_function_with_another_pause_is_refused() -> None:
    handler = ListHandler()
    handler.register(print, event_name="hello", pause_on=ProviderDown)

    with pytest.raises(ConfigurationError, match="other options"):
        handler.register(print, event_name="more", pause_on=ValueError)
