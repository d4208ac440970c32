"""Who did what to a handler's events is kept in the journal, and said in the log."""

from __future__ import annotations

import getpass
import logging
import os

import pytest

from fastapi_events.errors import ConfigurationError, StorageError
from fastapi_events.handlers.task_queue.audit import Audit
from fastapi_events.storage.journal import Action
from fastapi_events.storage.letters import LetterFilter
from fastapi_events.storage.memory import MemoryJournal, MemoryStore
from tests.handlers.task_queue.broker import ListHandler
from tests.handlers.task_queue.worker.test_dead_letters_replayed import letter


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    for number in range(5):
        store.dead_letters.add(letter(number))
    return store


def told(store: MemoryStore) -> list[tuple[str, str, str, int]]:
    return [(each.by, each.what, each.subject, each.count) for each in store.journal.actions()]


def test_replays_and_discards_are_kept(store: MemoryStore) -> None:
    handler = ListHandler(store=store, relay=False)
    letters = store.dead_letters.list()

    handler.replay(letters[:1], by="alice")
    handler.discard(letters[:4], by="bob")
    assert list(handler.replay_all(matching=LetterFilter(error="ValueError"), by="carol")) == [1]

    assert told(store) == [
        ("carol", "replayed", "error=ValueError", 1),
        ("bob", "discarded", "m00000, m00001, m00002 and 1 more", 4),
        ("alice", "replayed", "m00000", 1),
    ]
    assert store.journal.actions()[0].handler == "list:events"


def test_so_are_pauses_by_whom_they_were_made_and_their_ends(store: MemoryStore) -> None:
    handler = ListHandler(store=store, relay=False)
    handler.register(event_name="hello", name="feed")(lambda event: None)

    handler.pause("feed", by="alice")
    assert handler.resume("feed")
    assert not handler.resume("feed")

    assert [(what, subject) for _, what, subject, _ in told(store)] == [
        ("resumed", "feed"),
        ("paused", "feed"),
    ]
    assert told(store)[-1][0] == "alice"


def test_a_replay_that_ends_halfway_is_kept_as_far_as_it_came(store: MemoryStore) -> None:
    handler = ListHandler(store=store, relay=False)
    steps = handler.replay_all(rate=4.0)

    next(steps)
    steps.close()

    assert [(what, count) for _, what, _, count in told(store)] == [("replayed", 1)]
    assert list(handler.replay_all(subscription="nobody")) == []
    assert len(told(store)) == 1


def test_without_a_name_it_was_the_user_of_the_process(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = ListHandler(store=store, relay=False)
    handler.discard(store.dead_letters.list(limit=1), matching=LetterFilter())
    monkeypatch.setattr(getpass, "getuser", lambda: {}["USER"])
    handler.discard(store.dead_letters.list(limit=1))

    (unknown, *_), (user, _, subject, _) = told(store)
    assert unknown.startswith(f"{os.getuid()}@")
    assert "@" in user
    assert not user.startswith(f"{os.getuid()}@")
    assert subject == "all dead letters"


def test_without_a_journal_the_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Audit("list:events", None).note("paused", "cook", by="alice")

    assert caplog.messages == ["alice paused cook of list:events: 1"]
    with pytest.raises(ConfigurationError, match="has no store of dead letters"):
        ListHandler().discard([])


def test_where_the_journal_is_away_it_is_done_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    class Away(MemoryJournal):
        def note(self, action: Action) -> None:
            raise StorageError("gone")

    Audit("list:events", Away()).note("paused", "cook", by="alice")

    assert "What alice did is in the log only, the journal is away: gone" in caplog.messages
