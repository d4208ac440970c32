"""Dead letters, once, and order: the same on every engine and broker."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fastapi_events.event import Event
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryStore
from tests.places import QueuePlace
from tests.recording import Diary


@pytest.fixture
def store() -> MemoryStore:
    """The stores of the place's handler."""
    return MemoryStore()


@pytest.fixture
def handler_settings(store: MemoryStore) -> dict[str, Any]:
    return {"dead_letters": store.dead_letters, "inbox": store.inbox, "lanes": store.lanes}


def test_what_is_given_up_is_in_the_store(queue_place: QueuePlace, store: MemoryStore, diary: Diary) -> None:
    @queue_place.handler.register(event_name="bad", name="hopeless")
    def hopeless(event: Event) -> None:
        raise ValueError("never")

    queue_place.dispatch("bad", {"n": 1})

    [letter] = store.dead_letters.list()
    assert (letter.subscription, letter.queue, letter.event_name) == ("hopeless", "events", "bad")
    assert (letter.handler, letter.attempts) == (queue_place.handler.name, 3)
    assert json.loads(letter.argument)["data"] == {"n": 1}
    assert letter.reason == "ValueError: never"
    assert 'raise ValueError("never")' in letter.traceback
    assert queue_place.dead() == []  # not in the engine's own as well
    assert [rest["subscription"] for _, rest in diary.of("dead")] == ["hopeless"]


def test_a_letter_can_be_replayed(queue_place: QueuePlace, store: MemoryStore) -> None:
    mended: list[bool] = []
    handled: list[Any] = []

    @queue_place.handler.register(event_name="bad", name="hopeless")
    def hopeless(event: Event) -> None:
        if not mended:
            raise ValueError("not yet")
        handled.append((event.id, event.payload))

    queue_place.dispatch("bad", {"n": 1})
    [letter] = store.dead_letters.list()
    mended.append(True)
    queue_place.handler.replay([letter])
    queue_place.settle()

    assert handled == [(letter.event_id, {"n": 1})]


def test_a_letter_with_an_ordering_key_can_be_replayed(queue_place: QueuePlace, store: MemoryStore) -> None:
    mended: list[bool] = []
    handled: list[Any] = []

    @queue_place.handler.register(event_name="bad", name="hopeless")
    def hopeless(event: Event) -> None:
        if not mended:
            raise ValueError("not yet")
        handled.append(event.payload)

    queue_place.dispatch("bad", 1, ordering_key="k")
    [letter] = store.dead_letters.list()
    mended.append(True)
    queue_place.handler.replay([letter])
    queue_place.dispatch("bad", 2, ordering_key="k")

    assert handled == [1, 2]


@pytest.mark.parametrize("argument", ["not JSON", '{"specversion":"9.0","id":"1","type":"x"}', 7])
def test_what_nobody_can_read_is_in_the_store(
    queue_place: QueuePlace, store: MemoryStore, argument: Any
) -> None:
    queue_place.work()
    queue_place.send(argument)
    queue_place.settle()

    [letter] = store.dead_letters.list()
    assert letter.event_id is None
    assert "UnreadableEnvelope" in letter.reason
    assert letter.argument == (argument if isinstance(argument, str) else str(argument))


def test_a_message_for_nobody_is_in_the_store(queue_place: QueuePlace, store: MemoryStore) -> None:
    queue_place.work()
    queue_place.send('{"specversion":"1.0","id":"1","type":"x"}', task="gone.function")
    queue_place.settle()

    [letter] = store.dead_letters.list()
    assert (letter.subscription, letter.event_name) == ("gone.function", "x")
    assert "UnknownSubscription" in letter.reason


def test_a_store_that_fails_leaves_it_to_the_engine(queue_place: QueuePlace, store: MemoryStore) -> None:
    store.dead_letters.max_letters = 0

    @queue_place.handler.register(event_name="bad", name="hopeless")
    def hopeless(event: Event) -> None:
        raise ValueError("never")

    queue_place.dispatch("bad")

    assert queue_place.reasons() == ["ValueError: never"]


def test_once_is_once(queue_place: QueuePlace, store: MemoryStore) -> None:
    ran: list[str] = []

    @queue_place.handler.register(event_name="x", name="one", once=True)
    def one(event: Event) -> None:
        ran.append(event.id)

    queue_place.work()
    for _ in range(3):
        queue_place.send('{"specversion":"1.0","id":"1","type":"x"}', task="one")
    queue_place.settle()

    assert ran == ["1"]


def test_events_of_a_key_are_handled_in_order_while_one_is_retried(
    queue_place: QueuePlace, store: MemoryStore
) -> None:
    got: dict[str, list[int]] = {"k": [], "other": []}
    failed: set[int] = set()

    @queue_place.handler.register(event_name="x", name="one")
    def one(event: Event) -> None:
        if event.payload % 3 == 0 and event.payload not in failed:
            failed.add(event.payload)
            raise ValueError("not yet")
        got[str(event.ordering_key)].append(event.payload)

    async def requests() -> None:
        for n in range(8):
            async with collect_events([queue_place.handler]) as backlog:
                for key in got:
                    event = Event("x", n)
                    event.ordering_key = key
                    backlog.append(event)

    asyncio.run(requests())
    queue_place.settle()

    assert got == {"k": list(range(8)), "other": list(range(8))}
