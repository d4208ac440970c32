"""What every store of dead letters does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.letters import LetterFilter, groups_of, matching_letters

BEGIN = datetime(2026, 7, 1, 12, 0, 0, 123457, tzinfo=UTC)


def _letter(id_: str, *, minutes: float = 0, **settings: Any) -> DeadLetter:
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


def _ids(letters: list[DeadLetter]) -> list[str]:
    return [each.id for each in letters]


class DeadLettersContract:
    """Tests of the fixture `store`, whose `dead_letters` are looked at; it goes by the fixture `clock`."""

    more_than_a_page: int = 1_001
    """So many letters that the store does not remove them all at once; they are added one by one."""

    def test_a_letter_comes_out_as_it_went_in(self, store: Any) -> None:
        known = _letter("1", reason="Käthe <b>'; DROP TABLE letters; --", minutes=0.37)
        unread = _letter("2", event_id=None, event_name=None, argument='"no envelope"', minutes=1)
        store.dead_letters.add(known)
        store.dead_letters.add(unread)
        assert store.dead_letters.get("1") == known
        assert store.dead_letters.list() == [known, unread]
        assert store.dead_letters.get("unknown") is None

    def test_what_no_database_can_hold_is_kept_escaped(self, store: Any) -> None:
        store.dead_letters.add(_letter("1", reason="NUL \0 and \ud800", event_name="\udfff"))
        found = store.dead_letters.get("1")
        assert found.reason == "NUL \\u0000 and \\ud800"
        assert _ids(store.dead_letters.list(event_name="\\udfff")) == ["1"]

    def test_a_very_long_name_is_kept(self, store: Any) -> None:
        store.dead_letters.add(_letter("1", event_name="x" * 1_000_000))
        assert len(store.dead_letters.get("1").event_name) == 1_000_000

    def test_the_same_letter_again_replaces_the_first(self, store: Any) -> None:
        store.dead_letters.add(_letter("1", handler="old"))
        store.dead_letters.add(_letter("2", minutes=1))
        store.dead_letters.add(_letter("1", minutes=2, attempts=7))
        assert [(each.id, each.attempts) for each in store.dead_letters.list()] == [("2", 6), ("1", 7)]
        assert store.dead_letters.count() == 2
        assert store.dead_letters.count(handler="old") == 0

    def test_letters_are_found_by_what_they_are_about(self, store: Any) -> None:
        store.dead_letters.add(_letter("1"))
        store.dead_letters.add(_letter("2", minutes=1, subscription="app.handlers.cook"))
        store.dead_letters.add(_letter("3", minutes=2, event_name="dog-barked"))
        store.dead_letters.add(_letter("4", minutes=3, handler="celery:events", event_name=None))
        found = store.dead_letters
        assert _ids(found.list(subscription="app.handlers.cook")) == ["2"]
        assert _ids(found.list(event_name="dog-barked")) == ["3"]
        assert _ids(found.list(handler="dramatiq:events")) == ["1", "2", "3"]
        assert _ids(found.list(handler="dramatiq:events", event_name="cat-woke")) == ["1", "2"]
        assert _ids(found.list(subscription="unknown")) == []
        assert found.count() == 4
        assert found.count(subscription="app.handlers.feed") == 3
        assert found.count(subscription="app.handlers.feed", event_name="cat-woke") == 1

    def test_letters_are_found_by_how_the_ids_of_their_events_begin(self, store: Any) -> None:
        letters, long = store.dead_letters, "e" * 10_000
        for id_, event_id in (("1", "ab-1"), ("2", "ab-2"), ("3", "ac-1"), ("4", None), ("5", long)):
            letters.add(_letter(id_, event_id=event_id))
        letters.add(_letter("6", event_id="ab-2", handler="celery:events"))
        assert _ids(letters.find("ab", handler="dramatiq:events")) == ["1", "2"]
        assert _ids(letters.find("ab-2")) == ["2", "6"]
        assert _ids(letters.find("ab", limit=1)) == ["1"]
        assert _ids(letters.find(long)) == ["5"]
        assert letters.find(f"{long}e") == letters.find("a%") == letters.find("zz") == []
        letters.discard(["1"])
        assert _ids(letters.find("ab-", handler="dramatiq:events")) == ["2"]

    def test_letters_of_one_cause_are_a_group(self, store: Any) -> None:
        letters = store.dead_letters
        # Given letters of two causes to one handler, one of them to another handler, too
        for at in range(3):
            letters.add(_letter(f"value-{at}", minutes=at, reason=f"ValueError: no fish {at}"))
        letters.add(_letter("key", minutes=9, reason="KeyError: 'cat'"))
        letters.add(_letter("other", minutes=3, handler="celery:events"))
        # Then there are groups of them, the largest first
        [values, keys] = letters.groups(handler="dramatiq:events")
        assert (values.error, values.count, values.sample, values.reason) == (
            "ValueError", 3, "value-2", "ValueError: no fish 2",
        )  # fmt: skip
        assert (values.first_at, values.last_at) == (BEGIN, BEGIN + timedelta(minutes=2))
        assert (keys.error, keys.count, keys.sample) == ("KeyError", 1, "key")
        assert [each.count for each in letters.groups(handler="dramatiq:events", limit=1)] == [3]
        assert sorted(each.count for each in letters.groups()) == [1, 1, 3]
        # And each can be listed and counted
        group = {"handler": "dramatiq:events", "group": values.id}
        assert _ids(letters.list(**group, limit=2)) == ["value-0", "value-1"]
        assert _ids(letters.list(**group, after=letters.get("value-1").cursor)) == ["value-2"]
        assert letters.count(**group) == 3
        assert letters.count(group=values.id) == 4
        assert _ids(letters.list(group=values.id, event_name="unknown")) == []

    @pytest.mark.parametrize(
        ("wanted", "meant"),
        [
            ({}, "1 2 3 4"),
            ({"subscription": "app.handlers.feed"}, "1 2 3"),
            ({"event_name": "dog-barked"}, "4"),
            ({"error": "fish"}, "1 2"),
            ({"error": "FISH"}, ""),
            ({"error": "%"}, "3"),
            ({"error": "\0"}, ""),
            ({"since": BEGIN + timedelta(minutes=2)}, "2 3 4"),
            ({"before": BEGIN + timedelta(minutes=2)}, "1"),
            ({"fields": {"order": "7"}}, "1 3"),
            ({"fields": {"order": 7}}, "1"),
            ({"fields": {"order": "70"}}, "2"),
            ({"fields": {"cat.name": "Tom"}}, "2"),
            ({"fields": {"cat.name": "Käthe"}}, "4"),
            ({"fields": {"cat.name": 'O"Hara'}}, "3"),
            ({"fields": {"weight": "1.5", "order": "8"}}, "4"),
            ({"fields": {"fish.1": "eel"}}, "1"),
            ({"fields": {"nothing": "null"}}, "3"),
            ({"fields": {"order": "7"}, "error": "fish"}, "1"),
            ({"ordering_key": "cat-7"}, "1 3"),
            ({"ordering_key": "cat-7", "error": "fish"}, "1"),
            ({"ordering_key": "7"}, ""),
            ({"ordering_key": 'O"Hara'}, "4"),
        ],
    )
    def test_filters_leave_those_that_are_meant_and_their_groups(
        self, store: Any, wanted: dict[str, Any], meant: str
    ) -> None:
        letters, matching = store.dead_letters, LetterFilter(**wanted)
        for id_, payload, settings in (
            ("1", '{"order":7,"fish":["cod","eel"]}', {}),
            ("2", '{"order": 70, "cat" : {"name" : "Tom"}}', {"minutes": 2}),
            (
                "3", '{"order":"7","cat":{"name":"O\\"Hara"},"nothing":null}',
                {"minutes": 3, "reason": "100 %"},
            ),
            (
                "4", '{"order": 8, "cat": {"name": "K\\u00e4the"}, "weight": 1.50}',
                {"minutes": 4, "reason": "KeyError", "subscription": "x", "event_name": "dog-barked"},
            ),
        ):  # fmt: skip
            key = '"O\\"Hara"' if id_ == "4" else "null" if id_ == "2" else '"cat-7"'
            argument = f'{{"specversion":"1.0","partitionkey":{key},"data":{payload}}}'
            letters.add(_letter(id_, argument=argument, **settings))
        letters.add(_letter("5", handler="celery:events"))
        found = list(matching_letters(letters, "dramatiq:events", matching))
        assert _ids(found) == meant.split()
        groups = letters.groups(handler="dramatiq:events", wanted=matching)
        assert sorted((each.id, each.count, each.sample) for each in groups) == sorted(
            (each.id, each.count, each.sample) for each in groups_of(found)
        )

    def test_a_group_has_what_is_left_of_it(self, store: Any) -> None:
        letters = store.dead_letters
        for at in range(3):
            letters.add(_letter(str(at), minutes=at))
        letters.add(_letter("1", minutes=5, reason="KeyError: 'cat'"))  # which has failed in another way
        assert [(each.error, each.count) for each in letters.groups()] == [("ValueError", 2), ("KeyError", 1)]
        letters.discard(["0"])
        letters.replayed([letters.get("1")])
        assert [(each.error, each.count) for each in letters.groups()] == [("ValueError", 1)]
        letters.expire(BEGIN + timedelta(days=1))
        assert letters.groups() == []

    def test_a_page_begins_behind_a_letter_although_it_has_gone(self, store: Any) -> None:
        # Given letters of which several were given up at once, in any order
        for id_, minutes in (("d", 2), ("b", 1), ("a", 1), ("c", 1), ("e", 3)):
            store.dead_letters.add(_letter(id_, minutes=minutes))
        first = store.dead_letters.list(limit=2)
        assert _ids(first) == ["a", "b"]
        # When the last one of a page is discarded
        store.dead_letters.discard(["b"])
        # Then the next page goes on from where it was
        second = store.dead_letters.list(limit=2, after=first[-1].cursor)
        assert _ids(second) == ["c", "d"]
        assert _ids(store.dead_letters.list(after=second[-1].cursor, handler="dramatiq:events")) == ["e"]
        assert store.dead_letters.list(after=_letter("e", minutes=3).cursor) == []

    @pytest.mark.parametrize("cursor", ["", "7", "x/1"])
    def test_a_cursor_of_somebody_elses_is_refused(self, store: Any, cursor: str) -> None:
        with pytest.raises(ValueError, match="is not a cursor"):
            store.dead_letters.list(after=cursor)

    def test_what_was_replayed_is_removed_unless_it_has_been_added_again(self, store: Any) -> None:
        # Given letters of which one is added again while it is replayed, as by a worker that is quick to fail
        for id_ in "123":
            store.dead_letters.add(_letter(id_))
        read = store.dead_letters.list()
        again = _letter("2", minutes=1)
        store.dead_letters.add(again)
        # When they are known to have been sent
        assert store.dead_letters.replayed([*read, _letter("unknown")]) == 2
        # Then it is still there
        assert store.dead_letters.list() == [again]
        assert store.dead_letters.replayed([]) == 0
        assert store.dead_letters.replayed([again]) == 1
        assert store.dead_letters.count(handler=again.handler) == 0

    def test_letters_can_be_discarded(self, store: Any) -> None:
        for id_ in "123":
            store.dead_letters.add(_letter(id_))
        assert store.dead_letters.discard(["1", "3", "3", "unknown"]) == 2
        assert store.dead_letters.discard([]) == 0
        assert _ids(store.dead_letters.list()) == ["2"]
        assert store.dead_letters.count(event_name="cat-woke") == 1

    def test_old_letters_can_be_removed(self, store: Any) -> None:
        old = self.more_than_a_page
        for minutes in range(old + 2):
            store.dead_letters.add(_letter(str(minutes), minutes=minutes))
        assert store.dead_letters.expire(BEGIN + timedelta(minutes=old)) == old
        assert _ids(store.dead_letters.list()) == [str(old), str(old + 1)]

    def test_old_letters_of_one_handler_can_be_removed(self, store: Any) -> None:
        letters = store.dead_letters
        for id_, handler, minutes in (
            ("1", "a", 0),
            ("2", "b", 0),
            ("3", "a", 1),
            ("4", "b", 1),
            ("5", "a", 2),
        ):
            letters.add(_letter(id_, handler=handler, minutes=minutes))
        assert letters.expire(BEGIN + timedelta(minutes=2), handler="a") == 2
        assert letters.expire(BEGIN + timedelta(minutes=2), handler="nobody") == 0
        assert _ids(letters.list()) == ["2", "4", "5"]
        assert (letters.count(handler="a"), letters.count(handler="b")) == (1, 2)
        assert letters.expire(BEGIN + timedelta(minutes=2)) == 2
        assert _ids(letters.list()) == ["5"]
