"""What every journal does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fastapi_events.storage.journal import Action, Count, JournalEvent, Record


def _record(event_id: str, what: Any = "dispatched", at: float = 1_000.0, **more: Any) -> Record:
    values = {"event_name": "order-paid", "correlation": event_id, "process": "here:1", **more}
    return Record(event_id=event_id, what=what, at=at, **values)


def _count(number: int, measure: str = "succeeded", minute: int = 960, **more: Any) -> Count:
    values = {"event_name": "order-paid", "subscription": "shop.cook", **more}
    return Count(minute=minute, measure=measure, count=number, **values)


def _ids(events: list[JournalEvent]) -> list[str]:
    return [each.id for each in events]


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _action(at: float, **more: Any) -> Action:
    values = {
        "by": "tom@home",
        "what": "replayed",
        "handler": "dramatiq:events",
        "subject": "all",
        "count": 7,
    }
    return Action(**{**values, "at": at, **more})


class JournalContract:
    """Tests of the fixture `store`, whose `journal` is looked at; it goes by the fixture `clock`."""

    def test_what_is_written_is_read_as_it_was_in_the_order_of_time(self, store: Any) -> None:
        records = [
            _record("a", cause="b", correlation="c"),
            _record(
                "a", "fanned_out", 1_000.25, correlation="c", handler="dramatiq:events", to=("shop.cook", "x")
            ),
            _record(
                "a", "started", 1_001.0, correlation="c", subscription="shop.cook", queue="kitchen", age=1.0
            ),
            _record(
                "a", "failed", 1_001.5, correlation="c", subscription="shop.cook", duration=0.5, error="E: 🐟"
            ),
            _record("a", "retried", 1_001.75, correlation="c", subscription="shop.cook", attempt=1, wait=2.5),
        ]

        store.journal.write(records[3:])
        store.journal.write(records[:3])

        assert store.journal.records("a") == records
        assert store.journal.records("b") == []

    def test_of_an_event_there_is_a_summary(self, store: Any) -> None:
        store.journal.write([_record("a", "started", 1_001.0, cause="b", correlation="c")])
        store.journal.write([_record("a", at=1_000.0, cause="b", correlation="c", payload='{"cat": 1}')])
        store.journal.write([_record("a", "dead", 1_002.0, cause="b", correlation="c")])

        [found] = store.journal.events()

        assert found == JournalEvent(
            id="a", name="order-paid", first_at=1_000.0, last_at=1_002.0, cause="b", correlation="c",
            outcomes=frozenset({"dispatched", "started", "dead"}), payload='{"cat": 1}',
        )  # fmt: skip

    def test_events_are_listed_by_what_happened_last_the_latest_first(self, store: Any) -> None:
        store.journal.write([_record("a", at=1.0), _record("b", at=2.0), _record("c", at=3.0)])
        store.journal.write([_record("a", "succeeded", at=4.0)])

        assert _ids(store.journal.events()) == ["a", "c", "b"]
        assert _ids(store.journal.events(limit=2)) == ["a", "c"]

    def test_a_listing_can_be_filtered(self, store: Any) -> None:
        store.journal.write(
            [
                _record("a", at=1.0),
                _record("b", at=2.0, event_name="order-sent"),
                _record("c", at=3.0, event_name="cat"),
                _record("c", "failed", at=4.0, event_name="cat"),
                _record("a", "succeeded", at=5.0),
            ]
        )
        journal = store.journal

        assert _ids(journal.events(name="order-*")) == ["a", "b"]
        assert _ids(journal.events(name="cat")) == ["c"]
        assert _ids(journal.events(outcome="failed")) == ["c"]
        assert _ids(journal.events(outcome="succeeded")) == ["a"]
        assert _ids(journal.events(since=_at(3.5))) == ["a", "c"]
        assert _ids(journal.events(since=_at(3.5), outcome="dead")) == []
        with pytest.raises(ValueError, match="since must have a time zone"):
            journal.events(since=datetime(2026, 1, 1))

    def test_events_are_found_by_their_ordering_key_the_latest_first(self, store: Any, clock: Any) -> None:
        now = clock.now
        store.journal.write(
            [
                _record("a", at=now, ordering_key="cat-1"),
                _record("b", at=now + 1, ordering_key="cat-2"),
                _record("c", at=now + 2, event_name="order-sent", ordering_key="cat-1"),
                _record("d", at=now + 3),
            ]
        )
        store.journal.write([_record("a", "failed", at=now + 4)])  # by somebody who was not told the key
        journal = store.journal

        assert _ids(journal.events(ordering_key="cat-1")) == ["a", "c"]
        assert _ids(journal.events(ordering_key="cat-1", outcome="failed")) == ["a"]
        assert _ids(journal.events(ordering_key="cat-1", name="order-s*")) == ["c"]
        assert _ids(journal.events(ordering_key="cat-1", since=_at(now + 3))) == ["a"]
        assert _ids(journal.events(ordering_key="cat-1", after=journal.events()[0].cursor)) == ["c"]
        assert journal.events(ordering_key="cat-3") == []
        assert [each.ordering_key for each in journal.events()] == ["cat-1", None, "cat-1", "cat-2"]
        assert {each.ordering_key for each in journal.records("a")} == {"cat-1"}

        clock.forward(4 * 86_400)
        journal.prune()
        assert journal.events(ordering_key="cat-1") == []

    def test_a_long_listing_is_read_page_by_page_and_none_is_twice(self, store: Any) -> None:
        some = [_record(f"{number:04}", at=float(number // 3)) for number in range(1_201)]
        store.journal.write([*some, _record("0000", "failed", at=2_000.0)])

        assert _ids(store.journal.events(limit=5_000)) == ["0000", *(f"{n:04}" for n in range(1_200, 0, -1))]
        assert _ids(store.journal.events(limit=1, name="order-paid", outcome="failed")) == ["0000"]

    def test_the_events_of_a_chain_are_found_the_first_one_first(self, store: Any) -> None:
        store.journal.write(
            [
                _record("b", at=2.0, correlation="a", cause="a"),
                _record("a", at=1.0),
                _record("c", at=3.0, correlation="a", cause="b"),
                _record("other"),
            ]
        )

        assert _ids(store.journal.chain("a")) == ["a", "b", "c"]
        assert _ids(store.journal.chain("a", limit=2)) == ["a", "b"]
        assert store.journal.chain("nothing") == []

    def test_an_event_is_found_by_the_beginning_of_its_id(self, store: Any) -> None:
        store.journal.write([_record("ab1"), _record("ab2"), _record("b"), _record("a%"), _record("AB3")])

        assert _ids(store.journal.find("ab")) == ["ab1", "ab2"]
        assert _ids(store.journal.find("ab", limit=1)) == ["ab1"]
        assert _ids(store.journal.find("a%")) == ["a%"]
        assert store.journal.find("c") == []

    def test_counts_are_added_up(self, store: Any) -> None:
        store.journal.write([], [_count(2), _count(1, "duration<=0.5"), _count(1, subscription="shop.clean")])
        store.journal.write([], [_count(3), _count(1, minute=1_020)])

        assert store.journal.counts(_at(961.0)) == [
            _count(1, subscription="shop.clean"),
            _count(1, "duration<=0.5"),
            _count(5),
            _count(1, minute=1_020),
        ]
        assert store.journal.counts(_at(1_020.0)) == [_count(1, minute=1_020)]

    def test_counts_are_added_up_over_what_is_not_told_apart(self, store: Any) -> None:
        store.journal.write([], [_count(2), _count(3, minute=1_020), _count(4, subscription="shop.clean")])
        store.journal.write([], [_count(1, "duration<=0.5"), _count(9, minute=600)])
        sums, since = store.journal.sums, _at(961.0)

        assert sums(since) == [
            _count(4, minute=0, subscription="shop.clean"),
            _count(1, "duration<=0.5", minute=0),
            _count(5, minute=0),
        ]
        [in_all] = sums(since, by=(), measures=[_count(1).measure])
        assert (in_all.minute, in_all.event_name, in_all.subscription, in_all.count) == (0, "", "", 9)
        by_minute = sums(since, by=("minute",), measures=[_count(1).measure])
        assert [(each.minute, each.subscription, each.count) for each in by_minute] == [
            (960, "", 6), (1_020, "", 3),
        ]  # fmt: skip
        assert sums(since, measures=["lost"]) == []

    def test_counts_of_two_handlers_are_told_apart(self, store: Any) -> None:
        of_one, of_other = _count(2, handler="dramatiq:events"), _count(5, handler="celery:events")
        store.journal.write([], [of_one, of_other])
        store.journal.write([], [of_one])
        sums, since = store.journal.sums, _at(961.0)

        assert store.journal.counts(since) == [of_other, _count(4, handler="dramatiq:events")]
        assert [(each.handler, each.count) for each in sums(since, by=["handler", "subscription"])] == [
            ("celery:events", 5), ("dramatiq:events", 4),
        ]  # fmt: skip
        assert [(each.handler, each.count) for each in sums(since, by=["subscription"])] == [("", 9)]

    def test_what_is_old_is_removed(self, store: Any, clock: Any) -> None:
        now = clock.now
        minute = int(now // 60) * 60
        store.journal.write([_record("old", at=now), _record("late", at=now)], [_count(1, minute=minute)])
        store.journal.write([_record("late", "failed", at=now + 50)])
        clock.forward(3 * 86_400 + 1)

        assert store.journal.prune() == 1

        assert _ids(store.journal.events()) == ["late"]
        assert store.journal.records("old") == []
        assert store.journal.find("old") == []
        assert store.journal.chain("old") == []
        clock.forward(180)
        assert store.journal.prune() == 1
        assert store.journal.prune() == 0
        assert store.journal.events() == []
        assert store.journal.counts(_at(0.0)) == []

    def test_where_there_are_too_many_what_went_well_goes_first(self, store: Any, clock: Any) -> None:
        now = clock.now
        store.journal.max_events = 3
        store.journal.write([_record(f"good-{each}", at=now + each) for each in range(4)])
        store.journal.write([_record("bad", "failed", at=now - 100), _record("worse", "dead", at=now - 50)])

        assert store.journal.prune() == 3
        assert _ids(store.journal.events()) == ["good-3", "worse", "bad"]

        store.journal.max_events = 1
        assert store.journal.prune() == 2
        assert _ids(store.journal.events()) == ["worse"]

    def test_many_are_removed_in_steps(self, store: Any, clock: Any) -> None:
        store.journal.write([_record(f"{number}", at=clock.now) for number in range(2_100)])
        clock.forward(4 * 86_400)

        assert store.journal.prune() == 2_100
        assert store.journal.events() == []

    def test_an_event_that_has_failed_once_stays_notable(self, store: Any, clock: Any) -> None:
        store.journal.max_events = 1
        store.journal.write([_record("a", "failed", at=clock.now)])
        store.journal.write([_record("a", "succeeded", at=clock.now + 1), _record("b", at=clock.now + 2)])

        store.journal.prune()

        assert _ids(store.journal.events()) == ["a"]

    def test_what_comes_from_outside_is_kept_in_a_form_that_fits(self, store: Any) -> None:
        forged = _record("x" * 5_000, event_name="\0" + "y" * 5_000, error="\ud800")

        store.journal.write([forged], [_count(1, event_name=forged.event_name)])

        [found] = store.journal.events()
        assert len(found.id) == len(found.name) == 200
        assert found.name.startswith("\\u0000y")
        [read] = store.journal.records(found.id)
        assert read.error == "\\ud800"

    def test_what_people_did_is_kept_the_latest_first(self, store: Any) -> None:
        for each in (_action(1.0), _action(2.0, what="discarded", subject="🐟 " * 3_000), _action(3.0)):
            store.journal.note(each)

        assert store.journal.actions(limit=2) == [
            _action(3.0),
            _action(2.0, what="discarded", subject="🐟 " * 3_000),
        ]
        assert [each.at for each in store.journal.actions()] == [3.0, 2.0, 1.0]
        assert store.journal.prune() == 0
        assert len(store.journal.actions()) == 3
