"""What an engine keeps by its own means is found, and taken into the store: on each engine and broker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from fastapi_events.errors import ConfigurationError, StorageFull
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.dead_queues import (
    NoDeadQueues,
    QueuedLetter,
    letter_from,
    letter_from_nothing_readable,
)
from fastapi_events.ids import named_id
from fastapi_events.storage.memory import MemoryDeadLetters
from tests import places
from tests.full import full
from tests.handlers.task_queue.broker import ListHandler
from tests.processes import until

ENVELOPE = '{"specversion":"1.0","id":"1","type":"cat","data":1}'
ON = {
    "dramatiq-valkey": places.dramatiq_on_redis, "dramatiq-rabbitmq": places.dramatiq_on_rabbitmq,
    "celery-valkey": places.celery_on_redis, "celery-rabbitmq": places.celery_on_rabbitmq,
}  # fmt: skip


@pytest.fixture
def letters() -> MemoryDeadLetters:
    """A store that has no room, so that the engine keeps what is given up."""
    return full(MemoryDeadLetters())


@pytest.fixture(
    params=[
        pytest.param(each, marks=getattr(pytest.mark, each.partition("-")[2]))
        for each in ON
    ]
)  # fmt: skip
def place(request: pytest.FixtureRequest, letters: MemoryDeadLetters) -> Iterator[Any]:
    url = request.getfixturevalue("valkey_url" if request.param.endswith("valkey") else "amqp_url")
    with ON[request.param](url, dead_letters=letters) as place:
        yield place


def test_what_the_engine_has_kept_is_found_and_taken_into_the_store(
    place: Any, letters: MemoryDeadLetters
) -> None:
    # Given a function that has failed while the store could keep nothing
    runs: list[int] = []

    @place.handler.register(event_name="cat", name="feed")
    def feed(event: Event) -> None:
        runs.append(event.payload)
        if len(runs) <= 3:
            raise ValueError("no fish")

    place.dispatch("cat", 7)
    assert letters.list() == []

    # Then it is found as often as one looks
    for _ in range(2):
        [found] = place.handler.queued_letters()
    assert (found.subscription, found.queue, found.event_name) == ("feed", "events", "cat")
    assert (found.reason, found.attempts) == ("ValueError: no fish", 3)
    assert 'raise ValueError("no fish")' in found.traceback

    # And taken into the store once there is room
    letters.max_letters = 10
    assert sum(place.handler.adopt(by="alice")) == 1
    assert place.handler.queued_letters() == []
    assert letters.list() == [found]

    # Where it can be replayed as any other
    assert sum(place.handler.replay_all()) == 1
    # A message of RabbitMQ may be on its way to the worker, where no count shows it
    until(lambda: len(runs) == 4, "the replay")
    place.settle()
    assert runs == [7, 7, 7, 7]


def test_while_the_store_has_no_room_nothing_is_taken(place: Any) -> None:
    @place.handler.register(event_name="cat", name="feed")
    def feed(event: Event) -> None:
        raise ValueError("no fish")

    place.dispatch("cat", 7)
    with pytest.raises(StorageFull):
        list(place.handler.adopt())

    [found] = place.handler.queued_letters()
    assert found.subscription == "feed"


def test_without_a_store_there_is_nowhere_to_take_it() -> None:
    with pytest.raises(ConfigurationError, match="no store of dead letters"):
        list(ListHandler().adopt())


def test_an_engine_that_says_nothing_has_none() -> None:
    none = NoDeadQueues()
    assert list(none) == []
    none.remove(QueuedLetter(letter_from_nothing_readable("h", "q", b"x", "no JSON"), None))
    assert list(ListHandler(dead_letters=MemoryDeadLetters()).adopt()) == []


def test_a_letter_says_what_its_message_says() -> None:
    report = {"reason": "ValueError: x", "traceback": "…", "attempts": 4, "at": "2026-03-01T12:00:00+00:00"}

    found = letter_from("h", "kitchen", "feed", "m1", [ENVELOPE], {}, report)

    assert (found.handler, found.queue, found.subscription) == ("h", "kitchen", "feed")
    assert found.id == named_id("h", "feed", "1")  # which a store would have given it
    assert (found.event_id, found.event_name, found.argument) == ("1", "cat", ENVELOPE)
    assert (found.reason, found.traceback, found.attempts) == ("ValueError: x", "…", 4)
    assert found.last_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert found.first_at <= found.last_at


@pytest.mark.parametrize(
    "report", [None, "forged", {}, {"reason": None, "attempts": "many", "at": "yesterday"}]
)
def test_a_message_that_does_not_say_why_is_a_letter_all_the_same(report: Any) -> None:
    found = letter_from("h", "kitchen", "feed", "m1", [ENVELOPE], {}, report)

    assert found.reason == "the engine has rejected it, and its message does not say why"
    assert (found.attempts, found.traceback) == (0, "")


def test_something_unreadable_is_the_same_letter_whenever_it_is_found() -> None:
    one, again = (letter_from_nothing_readable("h", "q", b"\xff", "no JSON") for _ in range(2))

    assert one.id == again.id
    assert "no JSON" in one.reason
