"""Redis leaves out the letters that nobody asks for, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.letters import LetterFilter, matching_letters
from fastapi_events.storage.redis import RedisStore, letter_search
from fastapi_events.storage.redis.letter_search import LetterSearch

pytestmark = pytest.mark.valkey

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HANDLER = "dramatiq:events"


@pytest.fixture
def store(valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisStore]:
    monkeypatch.setattr(letter_search, "PAGE", 3)
    with closing(RedisStore(valkey_url, prefix=tmp_path.name)) as store:
        yield store


def letter(id_: str, minutes: int = 0, reason: str = "ValueError: no fish", data: str = "{}") -> DeadLetter:
    at = BEGIN + timedelta(minutes=minutes)
    return DeadLetter(
        id=id_, handler=HANDLER, subscription="feed", queue="events", event_id=f"e-{id_}", event_name="cat",
        argument=f'{{"specversion":"1.0","partitionkey":"key-{id_}","data":{data}}}', reason=reason,
        traceback="", attempts=1, first_at=at, last_at=at,
    )  # fmt: skip


def test_what_is_not_meant_does_not_leave_the_server(store: RedisStore) -> None:
    # The text that is looked for stands in other fields, too, and looks like one
    store.dead_letters.add(letter("1", data='{"note":", \\"reason\\": \\"KeyError"}'))
    store.dead_letters.add(letter("2", reason='KeyError: ", "reason": "ValueError'))

    found = LetterSearch(store.dead_letters._server, "dead:all", LetterFilter(error="KeyError")).letters()

    assert ['"id": "2"' in each for each in found] == [True]


def test_pages_of_letters_that_were_given_up_at_once_are_read_to_their_end(store: RedisStore) -> None:
    for number in range(10):
        store.dead_letters.add(letter(f"{number:02}", minutes=number // 8))

    search = LetterSearch(store.dead_letters._server, "dead:all")

    assert [id_ for id_, _, _ in search.parts("group")] == [f"{number:02}" for number in range(10)]
    behind = (BEGIN.timestamp(), "06")
    assert [each[8:10] for each in search.letters(behind)] == ["07", "08", "09"]


def test_letters_that_go_meanwhile_hide_no_others(store: RedisStore) -> None:
    for number in range(9):
        store.dead_letters.add(letter(f"{number:02}", minutes=number))
    seen = []

    for id_, _, _ in LetterSearch(store.dead_letters._server, "dead:all").parts("group"):
        seen.append(id_)
        store.dead_letters.discard([id_])

    assert seen == [f"{number:02}" for number in range(9)]


def test_an_ordering_key_has_an_index(store: RedisStore) -> None:
    store.dead_letters.add(letter("1"))
    store.dead_letters.add(letter("2"))
    wanted = LetterFilter(ordering_key="key-2")

    assert [each.id for each in matching_letters(store.dead_letters, HANDLER, wanted)] == ["2"]
    store.dead_letters.discard(["2"])
    assert list(matching_letters(store.dead_letters, HANDLER, wanted)) == []
    prefix = store.dead_letters._server.prefix
    assert store.dead_letters._server.client.exists(f"{prefix}dead:by:ordering_key:key-2") == 0


def test_letters_of_an_earlier_version_are_found_by_their_ordering_keys(store: RedisStore) -> None:
    store.dead_letters.add(letter("1"))
    client, prefix = store.dead_letters._server.client, store.dead_letters._server.prefix
    text = client.hget(f"{prefix}dead:letters", "1").decode().replace(', "ordering_key": "key-1"', "")
    client.hset(f"{prefix}dead:letters", "1", text)
    client.delete(f"{prefix}dead:by:ordering_key:key-1", f"{prefix}dead:keyed")

    [found] = matching_letters(store.dead_letters, HANDLER, LetterFilter(ordering_key="key-1"))

    assert found == letter("1")
