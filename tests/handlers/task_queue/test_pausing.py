"""Paused subscriptions start nothing; their events wait, and count no attempts."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from fastapi_events.errors import ConfigurationError, InvalidSetting
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.worker.outcome import TryLater
from fastapi_events.handlers.task_queue.worker.pause_gate import LONGEST_LOOK_SECONDS, SHORTEST_LOOK_SECONDS
from fastapi_events.storage.memory import MemoryCatalogue
from tests.handlers.task_queue.broker import ListHandler


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def handler(clock: Clock) -> ListHandler:
    """With two functions that listen to `hello`, and note that they have run."""
    handler = ListHandler(catalogue=MemoryCatalogue(clock=clock))
    handler.ran = []  # type: ignore[attr-defined]
    for name in ("feed", "cook"):
        handler.register(event_name="hello", name=name)(_noting(handler, name))
    return handler


def _noting(handler: Any, name: str) -> Any:
    def run(event: Event) -> None:
        handler.ran.append(name)

    return run


def wait_of(handler: ListHandler, name: str) -> float | None:
    handler.fleet.refresh()
    subscription = handler.subscriptions.named(name)
    assert subscription is not None
    try:
        with handler.worker.gate.passing(subscription):
            return None
    except TryLater as later:
        return later.seconds


def test_a_paused_function_does_not_run_and_its_siblings_do(handler: Any) -> None:
    handler.pause("feed")

    asyncio.run(handler.handle(Event("hello")))
    with pytest.raises(TryLater):
        handler.run()
    handler.run()

    assert handler.ran == ["cook"]
    assert handler.resume("feed")
    assert wait_of(handler, "feed") is None


def test_messages_of_a_long_pause_are_looked_at_less_often(handler: Any, clock: Clock) -> None:
    handler.pause("feed")
    short = wait_of(handler, "feed")
    clock.now += 3_600
    long = wait_of(handler, "feed")

    assert short is not None
    assert 0.75 * SHORTEST_LOOK_SECONDS <= short <= 1.25 * SHORTEST_LOOK_SECONDS
    assert long is not None
    assert 0.75 * LONGEST_LOOK_SECONDS <= long <= 1.25 * LONGEST_LOOK_SECONDS


def test_a_pause_for_a_while_ends_by_itself(handler: Any, clock: Clock) -> None:
    made = handler.pause("feed", duration=timedelta(minutes=1), by="the provider is down")

    assert [(each.subscription, each.by) for each in handler.paused()] == [("feed", "the provider is down")]
    assert made.until == clock.now + 60
    clock.now += 59.5
    wait = wait_of(handler, "feed")
    assert wait is not None
    assert wait < 1
    clock.now += 1
    assert wait_of(handler, "feed") is None
    assert handler.paused() == ()
    assert not handler.resume("feed")


def test_what_cannot_be_paused_is_refused(handler: Any) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'feed'"):
        handler.pause("fed")
    with pytest.raises(ConfigurationError, match="no subscription 'other'"):
        handler.resume("other")
    with pytest.raises(InvalidSetting, match="duration"):
        handler.pause("feed", duration=0)
    with pytest.raises(ConfigurationError, match="catalogue"):
        ListHandler(catalogue=None).paused()
