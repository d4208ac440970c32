"""What people do with a handler's events, and that it is kept who did it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_events.errors import ConfigurationError
from fastapi_events.storage.letters import LetterFilter
from fastapi_events.storage.memory import MemoryDeadLetters, MemoryStore
from fastapi_events.storage.outbox import Entry
from tests.handlers.task_queue.broker import ListHandler
from tests.handlers.task_queue.worker.test_dead_letters_replayed import letter


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.dead_letters = MemoryDeadLetters(edit_letters=True)
    return store


@pytest.fixture
def handler(store: MemoryStore) -> Any:
    return ListHandler(store=store, relay=False)


def noted(store: MemoryStore) -> list[tuple[str, str, int]]:
    return [(each.by, each.what, each.count) for each in store.journal.actions()]


def test_old_letters_of_the_handler_alone_expire_and_it_is_kept_who_did_it(
    handler: Any, store: MemoryStore
) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for number, days, owner in ((1, 0, handler.name), (2, 0, "list:other"), (3, 9, handler.name)):
        store.dead_letters.add(
            replace(letter(number), handler=owner, first_at=at, last_at=at + timedelta(days=days))
        )

    assert handler.expire(at + timedelta(days=5), by="alice") == 1
    assert handler.expire(at + timedelta(days=5), by="bob") == 0
    assert {each.handler for each in store.dead_letters.list()} == {handler.name, "list:other"}
    [action] = store.journal.actions()
    assert (action.by, action.what, action.handler, action.count) == ("alice", "expired", handler.name, 1)
    assert action.subject == f"before={at + timedelta(days=5)}"
    with pytest.raises(ValueError, match="time zone"):
        handler.expire(datetime(2026, 1, 6))


def test_letters_are_discarded_step_by_step_and_later_ones_stay(handler: Any, store: MemoryStore) -> None:
    for number in range(7):
        store.dead_letters.add(letter(number))

    steps = handler.discard_all(LetterFilter(), rate=1_000, by="alice")
    first = next(steps)
    rest = list(steps)

    assert first + sum(rest) == 7
    assert store.dead_letters.count() == 0
    assert noted(store) == [("alice", "discarded", 7)]


def test_one_letter_is_replayed_with_another_payload(handler: Any, store: MemoryStore) -> None:
    store.dead_letters.add(letter(1))

    [kept] = store.dead_letters.list()
    handler.replay_edited(kept, {"fish": 2}, by="alice")

    [message] = handler.sent
    assert json.loads(message.argument)["data"] == {"fish": 2}
    assert store.dead_letters.count() == 0
    assert noted(store) == [("alice", "edited and replayed", 1)]


def test_letters_are_edited_only_where_the_store_allows_it(store: MemoryStore) -> None:
    store.dead_letters = MemoryDeadLetters()
    store.dead_letters.add(letter(1))
    handler = ListHandler(store=store, relay=False)

    with pytest.raises(ConfigurationError, match="edit_letters=True"):
        handler.replay_edited(letter(1), {"fish": 2})

    assert handler.sent == []


def test_an_event_in_the_outbox_is_cancelled(handler: Any, store: MemoryStore) -> None:
    store.outbox.add([Entry(id="1", destination=handler.name, envelope="{}")])

    assert handler.cancel(store.outbox.list(), by="alice") == 1

    assert store.outbox.list() == []
    assert noted(store) == [("alice", "cancelled", 1)]
    with pytest.raises(ConfigurationError, match="has no outbox"):
        ListHandler().cancel([])


def test_it_is_kept_who_lets_a_function_go_on(handler: Any, store: MemoryStore) -> None:
    handler.register(name="feed")(lambda event: time.sleep(0))

    handler.pause("feed", by="alice")
    handler.resume("feed", by="bob")

    assert noted(store) == [("bob", "resumed", 1), ("alice", "paused", 1)]
