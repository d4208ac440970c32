"""Dramatiq's own options and errors say whether and when a function is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest

from fastapi_events.event import Event
from tests.places import Dramatiq, dramatiq_on_stub
from tests.recording import Diary


@pytest.fixture
def stub() -> Iterator[Dramatiq]:
    with dramatiq_on_stub() as place:
        yield place


def test_dramatiqs_own_retry_options_count(stub: Dramatiq) -> None:
    calls: list[str] = []
    options: dict[str, dict[str, Any]] = {
        "max_retries": {"max_retries": 1, "min_backoff": 1, "max_backoff": 2},
        "throws": {"throws": ValueError},
        "retry_when": {"retry_when": lambda retries, error: retries < 3, "min_backoff": 1, "max_backoff": 2},
    }
    for name, some in options.items():

        def work(event: Event, name: str = name) -> None:
            calls.append(name)
            raise ValueError("no")

        stub.handler.register(work, name=name, **some)

    stub.dispatch("hello")

    assert {name: calls.count(name) for name in options} == {"max_retries": 2, "throws": 1, "retry_when": 4}
    assert len(stub.dead()) == 3


def test_an_actor_can_hear_of_exhausted_retries(stub: Dramatiq) -> None:
    told: list[Any] = []

    @dramatiq.actor(broker=stub.broker, queue_name="events")
    def hears_of_it(message, numbers):
        told.append((message["actor_name"], numbers))

    @stub.handler.register(name="work", on_retry_exhausted="hears_of_it")
    def work(event: Event) -> None:
        raise ValueError("no")

    stub.dispatch("hello")

    assert told == [("work", {"retries": 2, "max_retries": 2})]


def test_a_function_may_ask_for_its_retry(stub: Dramatiq, diary: Diary) -> None:
    calls: list[str] = []

    @stub.handler.register(name="work")
    def work(event: Event) -> None:
        calls.append("work")
        if len(calls) == 1:
            raise dramatiq.Retry("in a moment", delay=7)

    stub.dispatch("hello")

    assert len(calls) == 2
    assert [rest["wait"] for _, rest in diary.of("retried")] == [0.007]
