"""What every store of dead letters does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_events.errors import StorageFull
from fastapi_events.storage.dead_letters import DeadLetter

BEGIN = datetime(2026, 7, 1, 12, 0, 0, 123457, tzinfo=UTC)


def letter(id_: str, *, minutes: float = 0, **settings: Any) -> DeadLetter:
    values: dict[str, Any] = {
        "id": id_,
        "handler": "dramatiq:events",
        "subscription": "app.handlers.feed",
        "queue": "events",
        "event_id": "e1",
        "event_name": "cat-woke",
        "argument": '{"specversion": "1.0"}',
        "reason": "ValueError: no fish",
        "traceback": "Traceback …",
        "attempts": 6,
        "first_at": BEGIN,
        "last_at": BEGIN + timedelta(minutes=minutes),
    }
    return DeadLetter(**values | settings)


def ids(letters: list[DeadLetter]) -> list[str]:
    return [each.id for each in letters]


def test_a_letter_comes_out_as_it_went_in(store: Any) -> None:
    known = letter("1", reason="Käthe <b>'; DROP TABLE letters; --", minutes=0.37)
    unread = letter("2", event_id=None, event_name=None, argument='"no envelope"', minutes=1)
    store.dead_letters.add(known)
    store.dead_letters.add(unread)
    assert store.dead_letters.get("1") == known
    assert store.dead_letters.list() == [known, unread]
    assert store.dead_letters.get("unknown") is None


def test_what_no_database_can_hold_is_kept_escaped(store: Any) -> None:
    store.dead_letters.add(letter("1", reason="NUL \0 and \ud800", event_name="\udfff"))
    found = store.dead_letters.get("1")
    assert found.reason == "NUL \\u0000 and \\ud800"
    assert ids(store.dead_letters.list(event_name="\\udfff")) == ["1"]


def test_a_very_long_name_is_kept(store: Any) -> None:
    store.dead_letters.add(letter("1", event_name="x" * 1_000_000))
    assert len(store.dead_letters.get("1").event_name) == 1_000_000


def test_the_same_letter_again_replaces_the_first(store: Any) -> None:
    store.dead_letters.add(letter("1", handler="old"))
    store.dead_letters.add(letter("2", minutes=1))
    store.dead_letters.add(letter("1", minutes=2, attempts=7))
    assert [(each.id, each.attempts) for each in store.dead_letters.list()] == [("2", 6), ("1", 7)]
    assert store.dead_letters.count() == 2
    assert store.dead_letters.count(handler="old") == 0


def test_letters_are_found_by_what_they_are_about(store: Any) -> None:
    store.dead_letters.add(letter("1"))
    store.dead_letters.add(letter("2", minutes=1, subscription="app.handlers.cook"))
    store.dead_letters.add(letter("3", minutes=2, event_name="dog-barked"))
    store.dead_letters.add(letter("4", minutes=3, handler="celery:events", event_name=None))
    found = store.dead_letters
    assert ids(found.list(subscription="app.handlers.cook")) == ["2"]
    assert ids(found.list(event_name="dog-barked")) == ["3"]
    assert ids(found.list(handler="dramatiq:events")) == ["1", "2", "3"]
    assert ids(found.list(handler="dramatiq:events", event_name="cat-woke")) == ["1", "2"]
    assert ids(found.list(subscription="unknown")) == []
    assert found.count() == 4
    assert found.count(subscription="app.handlers.feed") == 3
    assert found.count(subscription="app.handlers.feed", event_name="cat-woke") == 1


def test_a_page_begins_behind_a_letter_although_it_has_gone(store: Any) -> None:
    # Given letters of which several were given up at once, in any order
    for id_, minutes in (("d", 2), ("b", 1), ("a", 1), ("c", 1), ("e", 3)):
        store.dead_letters.add(letter(id_, minutes=minutes))
    first = store.dead_letters.list(limit=2)
    assert ids(first) == ["a", "b"]
    # When the last one of a page is discarded
    store.dead_letters.discard(["b"])
    # Then the next page goes on from where it was
    second = store.dead_letters.list(limit=2, after=first[-1].cursor)
    assert ids(second) == ["c", "d"]
    assert ids(store.dead_letters.list(after=second[-1].cursor, handler="dramatiq:events")) == ["e"]
    assert store.dead_letters.list(after=letter("e", minutes=3).cursor) == []


@pytest.mark.parametrize("cursor", ["", "7", "x/1"])
def test_a_cursor_of_somebody_elses_is_refused(store: Any, cursor: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        store.dead_letters.list(after=cursor)


def test_what_was_replayed_is_removed_unless_it_has_been_added_again(store: Any) -> None:
    # Given letters of which one is added again while it is replayed, as by a worker that is quick to fail
    for id_ in "123":
        store.dead_letters.add(letter(id_))
    read = store.dead_letters.list()
    again = letter("2", minutes=1)
    store.dead_letters.add(again)
    # When they are known to have been sent
    assert store.dead_letters.replayed([*read, letter("unknown")]) == 2
    # Then it is still there
    assert store.dead_letters.list() == [again]
    assert store.dead_letters.replayed([]) == 0
    assert store.dead_letters.replayed([again]) == 1
    assert store.dead_letters.count(handler=again.handler) == 0


def test_letters_can_be_discarded(store: Any) -> None:
    for id_ in "123":
        store.dead_letters.add(letter(id_))
    assert store.dead_letters.discard(["1", "3", "3", "unknown"]) == 2
    assert store.dead_letters.discard([]) == 0
    assert ids(store.dead_letters.list()) == ["2"]
    assert store.dead_letters.count(event_name="cat-woke") == 1


def test_old_letters_can_be_removed(store: Any) -> None:
    for minutes in range(1_003):
        store.dead_letters.add(letter(str(minutes), minutes=minutes))
    assert store.dead_letters.expire(BEGIN + timedelta(minutes=1_001)) == 1_001
    assert ids(store.dead_letters.list()) == ["1001", "1002"]


def test_there_is_a_limit(store: Any) -> None:
    letters = store.dead_letters
    where = getattr(store, "_database", getattr(store, "_server", None))
    limited = type(letters)(*([] if where is None else [where]), max_letters=2)
    limited.add(letter("1"))
    limited.add(letter("2"))
    with pytest.raises(StorageFull, match="2"):
        limited.add(letter("3"))
    limited.add(letter("2", attempts=9))
    limited.discard(["1"])
    limited.add(letter("3"))
    assert ids(limited.list()) == ["2", "3"]


def test_times_need_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        letter("1", first_at=datetime(2026, 1, 1))
