"""Replaying: dead letters are sent again page by page, and none is forgotten that was not sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_events.envelope import seal
from fastapi_events.errors import ConfigurationError, NotPublished, StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import Message
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.lanes import Item, Lane
from fastapi_events.storage.memory import MemoryDeadLetters, MemoryLanes
from tests.handlers.task_queue.broker import ListEngine, ListHandler

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = 500


def letter(number: int, **settings: Any) -> DeadLetter:
    event = settings.pop("event", Event("cat"))
    values: dict[str, Any] = {
        "id": f"m{number:05}",
        "handler": "list:events",
        "subscription": "feed",
        "queue": "kitchen",
        "event_id": event.id,
        "event_name": event.name,
        "argument": seal(event, source="shop"),
        "reason": "ValueError: no fish",
        "traceback": "",
        "attempts": 6,
        "first_at": LONG_AGO,
        "last_at": LONG_AGO + timedelta(seconds=number),
    }
    return DeadLetter(**values | settings)


@pytest.fixture
def letters() -> MemoryDeadLetters:
    return MemoryDeadLetters()


@pytest.fixture
def handler(letters: MemoryDeadLetters) -> ListHandler:
    return ListHandler(dead_letters=letters)


def ids(handler: ListHandler) -> list[str]:
    return [message.id for message in handler.sent]


def test_a_letter_becomes_the_message_that_it_was(handler: ListHandler, letters: MemoryDeadLetters) -> None:
    kept = letter(1)
    letters.add(kept)

    assert list(handler.replay_all()) == [1]

    assert handler.sent == [Message("feed", "kitchen", kept.argument, "m00001")]
    assert letters.list() == []


def test_no_letters_are_no_pages(handler: ListHandler) -> None:
    assert list(handler.replay_all()) == []
    assert handler.tried == 0


def test_many_go_page_by_page_the_oldest_first(handler: ListHandler, letters: MemoryDeadLetters) -> None:
    for number in reversed(range(2 * PAGE + 1)):
        letters.add(letter(number))

    assert list(handler.replay_all()) == [PAGE, PAGE, 1]

    assert ids(handler) == [f"m{number:05}" for number in range(2 * PAGE + 1)]
    assert handler.tried == 3
    assert letters.list() == []


def test_only_what_was_asked_for_is_replayed(handler: ListHandler, letters: MemoryDeadLetters) -> None:
    letters.add(letter(1))
    letters.add(letter(2, subscription="wash"))
    letters.add(letter(3, event=Event("dog")))
    letters.add(letter(4, handler="list:other"))

    assert list(handler.replay_all(subscription="feed", event_name="cat")) == [1]
    assert ids(handler) == ["m00001"]

    assert list(handler.replay_all()) == [2]
    assert [each.id for each in letters.list()] == ["m00004"]  # another handler's


def test_a_page_that_the_broker_does_not_take_stays(handler: ListHandler, letters: MemoryDeadLetters) -> None:
    # Given a broker that goes away after a page
    for number in range(PAGE + 2):
        letters.add(letter(number))
    pages = handler.replay_all()
    assert next(pages) == PAGE
    handler.refusing = ConnectionError("refused")

    with pytest.raises(NotPublished, match="ConnectionError: refused"):
        next(pages)

    # Then what was not sent is still there, and can be replayed when it is back
    assert letters.count() == 2
    handler.refusing = None
    assert list(handler.replay_all()) == [2]
    assert len(set(ids(handler))) == PAGE + 2


def test_whoever_stops_halfway_leaves_the_rest(handler: ListHandler, letters: MemoryDeadLetters) -> None:
    for number in range(PAGE + 1):
        letters.add(letter(number))

    pages = handler.replay_all()
    next(pages)
    pages.close()

    assert [each.id for each in letters.list()] == [f"m{PAGE:05}"]


def test_a_store_that_fails_after_the_broker_has_confirmed_sends_a_page_twice_with_the_same_ids() -> None:
    class Forgetful(MemoryDeadLetters):
        failing = True

        def replayed(self, letters: Sequence[DeadLetter]) -> int:
            if self.failing:
                raise StorageError("the database is gone")
            return super().replayed(letters)

    letters = Forgetful()
    handler = ListHandler(dead_letters=letters)
    letters.add(letter(1))

    with pytest.raises(StorageError):
        list(handler.replay_all())
    letters.failing = False
    list(handler.replay_all())

    assert ids(handler) == ["m00001", "m00001"]
    assert letters.list() == []


def test_what_fails_again_meanwhile_is_left_and_not_tried_for_ever(letters: MemoryDeadLetters) -> None:
    # Given workers so quick that a message has failed again before the page is done
    class Quick(ListEngine):
        def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
            super().send(messages, timeout=timeout)
            for message in messages:
                letters.add(letter(int(message.id[1:]), last_at=datetime.now(UTC)))

    handler = ListHandler(Quick(), dead_letters=letters)
    letters.add(letter(1))
    letters.add(letter(2))

    assert list(handler.replay_all()) == [2]

    assert ids(handler) == ["m00001", "m00002"]
    assert letters.count() == 2  # they have failed again, and nobody knows of it but their letters


def test_an_event_in_order_waits_again_at_the_end_of_its_lane(letters: MemoryDeadLetters) -> None:
    # Given a letter of a lane in which another event waits
    lanes = MemoryLanes()
    handler = ListHandler(dead_letters=letters, lanes=lanes)
    event = Event("cat")
    event.ordering_key = "user-42"
    letters.add(letter(1, event=event))
    lane = Lane("list:events", "feed", "user-42")
    lanes.put({lane: [Item("before", "{}", "events")]})

    assert list(handler.replay_all()) == [1]

    [taken] = lanes.take([lane], token="me", lease=9, limit=9)
    assert [each.id for each in taken.items] == ["before", event.id]


def test_without_a_store_there_is_nothing_to_replay() -> None:
    with pytest.raises(ConfigurationError, match="list:events has no store of dead letters"):
        next(ListHandler().replay_all())
