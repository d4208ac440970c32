"""What every outbox does."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_events.storage.outbox import Entry
from fastapi_events.testing.contracts.clock import StoppedClock

HANDLER = "dramatiq:events"


def _entry(id_: str, **settings: Any) -> Entry:
    return Entry(**{"id": id_, "destination": HANDLER, "envelope": f'{{"id": "{id_}"}}', **settings})


def _claim(store: Any, token: str = "relay", limit: int = 10, lease: float = 30.0) -> list[Entry]:
    return list(store.outbox.claim(token, destinations=[HANDLER], limit=limit, lease=lease))


def _ids(entries: list[Entry]) -> list[str]:
    return [each.id for each in entries]


class OutboxContract:
    """Tests of the fixture `store`, whose `outbox` is looked at, and which goes by the fixture `clock`."""

    def test_entries_are_found_by_how_their_ids_begin_and_by_their_key(self, store: Any) -> None:
        entries = [
            _entry("ab-1", ordering_key="cat-7"), _entry("ab-2"), _entry("AB-3", ordering_key="cat-70"),
            _entry("a%", ordering_key="cat-7"), _entry("ab-1", destination="other", ordering_key="cat-7"),
        ]  # fmt: skip
        store.outbox.add(entries)

        def found(several: Any) -> list[tuple[str, str]]:
            return [(each.id, each.destination) for each in several]

        first = entries[0].destination
        assert found(store.outbox.find("ab")) == [("ab-1", first), ("ab-2", first), ("ab-1", "other")]
        assert found(store.outbox.find("ab-1")) == [("ab-1", first), ("ab-1", "other")]
        assert found(store.outbox.find("ab", limit=1)) == [("ab-1", first)]
        assert found(store.outbox.find("a%")) == [("a%", first)]
        assert store.outbox.find("b") == []
        keyed = store.outbox.of_key
        assert found(keyed("cat-7")) == [("ab-1", first), ("a%", first), ("ab-1", "other")]
        assert found(keyed("cat-7", limit=1)) == [("ab-1", first)]
        assert keyed("cat") == []

    def test_entries_come_out_as_they_went_in(self, store: Any, clock: StoppedClock) -> None:
        due = datetime.fromtimestamp(clock() - 0.123457, tz=UTC)
        entries = [
            _entry("1", ordering_key="cat-7", confirm="handled", due=due),
            _entry("2", envelope='{"name": "Käthe \\u0000"}'),
        ]
        store.outbox.add(entries)
        assert store.outbox.list() == entries
        assert _claim(store) == entries

    def test_an_entry_that_is_there_is_left_as_it_is(self, store: Any) -> None:
        store.outbox.add([_entry("1", envelope='"first"')])
        store.outbox.add([_entry("1", envelope='"second"'), _entry("1", destination="other")])
        assert [(each.destination, each.envelope) for each in store.outbox.list()] == [
            (HANDLER, '"first"'),
            ("other", '{"id": "1"}'),
        ]

    def test_adding_nothing_is_nothing(self, store: Any) -> None:
        store.outbox.add([])
        assert store.outbox.list() == []

    def test_owners_get_different_entries_oldest_first(self, store: Any) -> None:
        store.outbox.add([_entry(str(number)) for number in range(5)])
        assert _ids(_claim(store, "a", limit=2)) == ["0", "1"]
        assert _ids(_claim(store, "b", limit=2)) == ["2", "3"]
        assert _ids(_claim(store, "a")) == ["4"]
        assert _claim(store, "b") == []

    def test_a_relay_gets_what_is_for_its_handlers(self, store: Any) -> None:
        store.outbox.add([_entry("1", destination="other"), _entry("2")])
        assert _ids(_claim(store)) == ["2"]
        assert store.outbox.claim("relay", destinations=[], limit=10, lease=1.0) == []

    def test_an_entry_is_not_given_out_before_it_is_due(self, store: Any, clock: StoppedClock) -> None:
        due = datetime.fromtimestamp(clock(), tz=UTC) + timedelta(hours=1)
        store.outbox.add([_entry("later", due=due), _entry("now")])
        assert _ids(_claim(store, lease=7200)) == ["now"]
        clock.forward(3600)
        assert _ids(_claim(store)) == ["later"]

    def test_what_is_published_is_gone(self, store: Any) -> None:
        store.outbox.add([_entry("1"), _entry("2")])
        claimed = _claim(store)
        assert store.outbox.published("relay", claimed[:1]) == 1
        assert _ids(store.outbox.list()) == ["2"]
        assert store.outbox.published("relay", claimed) == 1

    def test_what_is_released_may_be_claimed_at_once(self, store: Any) -> None:
        store.outbox.add([_entry("1")])
        claimed = _claim(store, "a")
        assert store.outbox.release("b", claimed) == 0
        assert store.outbox.release("a", claimed) == 1
        assert _ids(_claim(store, "b")) == ["1"]

    def test_an_entry_goes_to_another_when_the_lease_has_run_out(
        self, store: Any, clock: StoppedClock
    ) -> None:
        store.outbox.add([_entry("1")])
        _claim(store, "a", lease=30)
        clock.forward(29)
        assert _claim(store, "b") == []
        clock.forward(1)
        assert _ids(_claim(store, "b")) == ["1"]

    def test_a_late_owner_cannot_touch_what_another_has(self, store: Any, clock: StoppedClock) -> None:
        store.outbox.add([_entry("1")])
        claimed = _claim(store, "a", lease=30)
        clock.forward(30)
        _claim(store, "b", lease=30)
        assert store.outbox.published("a", claimed) == 0
        assert store.outbox.extend("a", claimed, lease=1000) == 0
        assert store.outbox.release("a", claimed) == 0
        assert _claim(store, "c") == []
        assert store.outbox.published("b", claimed) == 1

    def test_a_late_owner_may_finish_what_nobody_has_taken(self, store: Any, clock: StoppedClock) -> None:
        store.outbox.add([_entry("1")])
        claimed = _claim(store, lease=30)
        clock.forward(31)
        assert store.outbox.published("relay", claimed) == 1

    def test_an_extended_lease_lasts_longer(self, store: Any, clock: StoppedClock) -> None:
        store.outbox.add([_entry("1")])
        claimed = _claim(store, "a", lease=30)
        clock.forward(20)
        assert store.outbox.extend("a", claimed, lease=30) == 1
        clock.forward(20)
        assert _claim(store, "b") == []

    def test_a_clock_set_back_leaves_nothing_stuck(self, store: Any, clock: StoppedClock) -> None:
        store.outbox.add([_entry("1")])
        _claim(store, "a", lease=30)
        clock.forward(-3600)
        assert _ids(_claim(store, "b")) == ["1"]

    def test_a_clock_set_back_a_little_changes_nothing(self, store: Any, clock: StoppedClock) -> None:
        store.outbox.add([_entry("1")])
        _claim(store, "a", lease=30)
        clock.forward(-1)
        assert _claim(store, "b") == []

    def test_a_clock_set_forward_makes_duplicates_only(self, store: Any, clock: StoppedClock) -> None:
        store.outbox.add([_entry("1")])
        _claim(store, "a", lease=30)
        clock.forward(3600)
        claimed = _claim(store, "b", lease=30)
        assert store.outbox.published("a", claimed) == 0
        assert store.outbox.published("b", claimed) == 1

    def test_entries_with_one_key_are_not_split_among_owners(self, store: Any) -> None:
        store.outbox.add(
            [_entry("1", ordering_key="k"), _entry("2", ordering_key="k"), _entry("3", ordering_key="other")]
        )
        first = _claim(store, "a", limit=1)
        assert _ids(_claim(store, "b")) == ["3"]
        store.outbox.published("a", first)
        assert _ids(_claim(store, "b")) == ["2"]

    def test_the_owner_itself_may_go_on(self, store: Any) -> None:
        store.outbox.add([_entry("1", ordering_key="k"), _entry("2", ordering_key="k")])
        _claim(store, "a", limit=1)
        assert _ids(_claim(store, "a")) == ["2"]

    def test_one_that_waits_for_receipts_holds_nobody_up(self, store: Any) -> None:
        store.outbox.add([_entry("1", ordering_key="k", confirm="handled"), _entry("2", ordering_key="k")])
        store.outbox.published("a", _claim(store, "a", limit=1))
        assert _ids(_claim(store, "b")) == ["2"]

    def test_the_same_key_of_another_handler_is_another(self, store: Any) -> None:
        store.outbox.add([_entry("1", ordering_key="k", destination="other"), _entry("2", ordering_key="k")])
        store.outbox.claim("a", destinations=["other"], limit=1, lease=30)
        assert _ids(_claim(store, "b")) == ["2"]

    @pytest.fixture
    def outbox(self, store: Any) -> Any:
        """An outbox with one entry that has been published, and waits for its receipts."""
        store.outbox.add([_entry("1", confirm="handled")])
        store.outbox.published("relay", _claim(store), resend_after=15)
        return store.outbox

    def test_it_is_sent_again_if_they_do_not_come(self, outbox: Any, store: Any, clock: StoppedClock) -> None:
        clock.forward(14)
        assert _claim(store) == []
        assert outbox.status().unconfirmed == 1
        clock.forward(1)
        assert _ids(_claim(store)) == ["1"]

    def test_it_is_sent_again_less_and_less_often(self, outbox: Any, store: Any, clock: StoppedClock) -> None:
        sent = 1
        for _ in range(150):  # ten times as long as the first time
            clock.forward(1)
            sent += outbox.published("relay", _claim(store), resend_after=15)
        assert sent == 5

    def test_it_awaits_those_who_have_given_no_receipt(self, outbox: Any) -> None:
        assert outbox.awaits("1", HANDLER, "feed")
        outbox.receipt("1", HANDLER, "feed")
        assert not outbox.awaits("1", HANDLER, "feed")
        assert outbox.awaits("1", HANDLER, "cook")
        assert not outbox.awaits("unknown", HANDLER, "cook")
        assert not outbox.awaits("1", "other", "cook")

    def test_a_clock_set_back_sends_it_again(self, outbox: Any, store: Any, clock: StoppedClock) -> None:
        clock.forward(-3600)
        assert _ids(_claim(store)) == ["1"]

    def test_it_is_done_when_all_have_come(self, outbox: Any) -> None:
        assert outbox.expect("1", HANDLER, ["feed", "cook"]) == {"feed", "cook"}
        outbox.receipt("1", HANDLER, "feed")
        outbox.receipt("1", HANDLER, "feed")
        assert outbox.expect("1", HANDLER, ["feed", "cook"]) == {"cook"}
        outbox.receipt("1", HANDLER, "cook")
        assert outbox.list() == []

    def test_it_is_done_when_nobody_listens(self, outbox: Any) -> None:
        assert outbox.expect("1", HANDLER, []) == set()
        assert outbox.list() == []

    def test_receipts_may_come_before_it_is_known_who_listens(self, outbox: Any) -> None:
        outbox.receipt("1", HANDLER, "feed")
        assert outbox.expect("1", HANDLER, ["feed"]) == set()
        assert outbox.list() == []

    def test_it_is_done_although_it_is_being_sent_again(
        self, outbox: Any, store: Any, clock: StoppedClock
    ) -> None:
        clock.forward(15)
        again = _claim(store)
        outbox.expect("1", HANDLER, ["feed"])
        outbox.receipt("1", HANDLER, "feed")
        assert outbox.published("relay", again) == 0
        assert outbox.list() == []

    def test_a_subscription_that_has_gone_is_not_waited_for(self, outbox: Any) -> None:
        outbox.expect("1", HANDLER, ["feed", "gone"])
        outbox.receipt("1", HANDLER, "feed")
        assert outbox.expect("1", HANDLER, ["feed"]) == set()
        assert outbox.list() == []

    def test_of_an_event_that_is_not_there_nothing_is_kept(self, outbox: Any) -> None:
        outbox.receipt("unknown", HANDLER, "feed")
        assert outbox.expect("unknown", HANDLER, ["feed"]) == {"feed"}
        outbox.receipt("1", "other", "feed")
        assert outbox.expect("1", HANDLER, ["feed"]) == {"feed"}
        assert len(outbox.list()) == 1

    def test_an_entry_that_comes_again_begins_anew(self, outbox: Any) -> None:
        outbox.expect("1", HANDLER, ["feed"])
        outbox.receipt("1", HANDLER, "feed")
        outbox.add([_entry("1", confirm="handled")])
        assert outbox.expect("1", HANDLER, ["feed"]) == {"feed"}

    def test_the_status_counts(self, store: Any, clock: StoppedClock) -> None:
        assert store.outbox.status().oldest is None
        begun = datetime.fromtimestamp(clock(), tz=UTC)
        store.outbox.add([_entry("1", confirm="handled")])
        store.outbox.published("relay", _claim(store))
        clock.forward(1)
        store.outbox.add([_entry(str(number)) for number in range(2, 7)])
        _claim(store, limit=2)
        status = store.outbox.status()
        assert (status.waiting, status.claimed, status.unconfirmed) == (3, 2, 1)
        assert status.oldest == begun

    def test_entries_are_shown_page_by_page(self, store: Any) -> None:
        store.outbox.add([_entry(str(number)) for number in range(5)])
        first = store.outbox.list(limit=2)
        assert _ids(first) == ["0", "1"]
        second = store.outbox.list(limit=2, after=first[-1].cursor)
        assert _ids(second) == ["2", "3"]
        [last] = store.outbox.list(after=second[-1].cursor)
        assert store.outbox.list(after=last.cursor) == []

    def test_a_page_begins_behind_an_entry_although_it_has_gone(self, store: Any) -> None:
        # Given an event that is on its way to two handlers
        store.outbox.add([_entry("1"), _entry("1", destination="other"), _entry("2")])
        [first] = store.outbox.list(limit=1)
        # When the one that a page ends with has gone
        store.outbox.discard([first])
        # Then the next page begins with the other
        assert _ids(store.outbox.list(after=first.cursor)) == ["1", "2"]

    def test_a_cursor_of_somebody_elses_is_refused(self, store: Any) -> None:
        with pytest.raises(ValueError, match="not a cursor"):
            store.outbox.list(after="1.0/letter")

    def test_entries_can_be_discarded(self, store: Any) -> None:
        store.outbox.add([_entry("1"), _entry("2")])
        _claim(store)
        assert store.outbox.discard([_entry("1"), _entry("1"), _entry("unknown")]) == 1
        assert _ids(store.outbox.list()) == ["2"]

    def test_many_at_once(self, store: Any) -> None:
        entries = [_entry(str(number)) for number in range(1_001)]
        store.outbox.add(entries)
        assert _claim(store, limit=2_000) == entries
        assert store.outbox.extend("relay", entries, lease=10) == 1_001
        assert store.outbox.release("relay", entries) == 1_001
        _claim(store, limit=2_000)
        assert store.outbox.published("relay", entries) == 1_001
        assert store.outbox.list() == []

    def test_waiting_ends_when_something_is_added(self, store: Any) -> None:
        outbox = store.outbox
        outbox.wait(0)  # from now on this thread listens
        added = threading.Thread(target=outbox.add, args=([_entry("1")],))
        added.start()
        outbox.wait(60)
        added.join()
        assert _ids(_claim(store)) == ["1"]

    def test_waiting_ends_after_its_time(self, store: Any) -> None:
        store.outbox.wait(0)
        store.outbox.wait(0.01)

    def test_what_was_held_back_may_be_claimed_when_it_is_rescheduled(
        self, store: Any, clock: StoppedClock
    ) -> None:
        later = datetime.fromtimestamp(clock() + 3_600, tz=UTC)
        store.outbox.add([_entry(id_, due=later) for id_ in "123"])
        assert _claim(store) == []

        store.outbox.reschedule([_entry(id_) for id_ in "12"])

        assert _ids(_claim(store)) == ["1", "2"]

    def test_what_its_process_publishes_itself_is_for_nobody_else(
        self, store: Any, clock: StoppedClock
    ) -> None:
        store.outbox.add([_entry("1", held=30.0), _entry("2")])
        assert _ids(_claim(store, lease=3600)) == ["2"]
        clock.forward(29)
        assert _claim(store) == []
        assert store.outbox.status().waiting == 1
        clock.forward(1)
        assert _ids(_claim(store)) == ["1"]

    def test_what_its_process_does_not_publish_after_all_is_for_anybody(self, store: Any) -> None:
        store.outbox.add([_entry("1", held=30.0), _entry("2", held=30.0)])
        store.outbox.reschedule([_entry("1")])
        assert _ids(_claim(store)) == ["1"]

    def test_what_its_process_publishes_itself_keeps_back_those_of_its_key(self, store: Any) -> None:
        store.outbox.add(
            [_entry("1", ordering_key="k", held=30.0), _entry("2", ordering_key="k"), _entry("3")]
        )
        assert _ids(_claim(store)) == ["3"]
        assert store.outbox.waiting_keys(HANDLER, ["k"]) == {"k"}
        assert store.outbox.waiting_keys(HANDLER, ["k"], beside=["1"]) == {"k"}
        assert store.outbox.waiting_keys(HANDLER, ["k"], beside=["1", "2"]) == set()
        store.outbox.reschedule([_entry("1")])
        assert _ids(_claim(store)) == ["1", "2"]
