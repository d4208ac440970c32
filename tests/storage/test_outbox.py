"""What every outbox does."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_events.errors import StorageFull
from fastapi_events.storage.outbox import Entry
from tests.storage.conftest import Clock

HANDLER = "dramatiq:events"


def entry(id_: str, **settings: Any) -> Entry:
    return Entry(**{"id": id_, "destination": HANDLER, "envelope": f'{{"id": "{id_}"}}', **settings})


def claim(store: Any, token: str = "relay", limit: int = 10, lease: float = 30.0) -> list[Entry]:
    return store.outbox.claim(token, destinations=[HANDLER], limit=limit, lease=lease)


def ids(entries: list[Entry]) -> list[str]:
    return [each.id for each in entries]


def test_entries_come_out_as_they_went_in(with_outbox: Any, clock: Clock) -> None:
    due = datetime.fromtimestamp(clock() - 0.123457, tz=UTC)
    entries = [
        entry("1", ordering_key="cat-7", confirm="handled", due=due),
        entry("2", envelope='{"name": "Käthe \\u0000"}'),
    ]
    with_outbox.outbox.add(entries)
    assert with_outbox.outbox.list() == entries
    assert claim(with_outbox) == entries


def test_an_entry_that_is_there_is_left_as_it_is(with_outbox: Any) -> None:
    with_outbox.outbox.add([entry("1", envelope='"first"')])
    with_outbox.outbox.add([entry("1", envelope='"second"'), entry("1", destination="other")])
    assert [(each.destination, each.envelope) for each in with_outbox.outbox.list()] == [
        (HANDLER, '"first"'),
        ("other", '{"id": "1"}'),
    ]


def test_adding_nothing_is_nothing(with_outbox: Any) -> None:
    with_outbox.outbox.add([])
    assert with_outbox.outbox.list() == []


def test_owners_get_different_entries_oldest_first(with_outbox: Any) -> None:
    with_outbox.outbox.add([entry(str(number)) for number in range(5)])
    assert ids(claim(with_outbox, "a", limit=2)) == ["0", "1"]
    assert ids(claim(with_outbox, "b", limit=2)) == ["2", "3"]
    assert ids(claim(with_outbox, "a")) == ["4"]
    assert claim(with_outbox, "b") == []


def test_a_relay_gets_what_is_for_its_handlers(with_outbox: Any) -> None:
    with_outbox.outbox.add([entry("1", destination="other"), entry("2")])
    assert ids(claim(with_outbox)) == ["2"]
    assert with_outbox.outbox.claim("relay", destinations=[], limit=10, lease=1.0) == []


def test_an_entry_is_not_given_out_before_it_is_due(with_outbox: Any, clock: Clock) -> None:
    due = datetime.fromtimestamp(clock(), tz=UTC) + timedelta(hours=1)
    with_outbox.outbox.add([entry("later", due=due), entry("now")])
    assert ids(claim(with_outbox, lease=7200)) == ["now"]
    clock.forward(3600)
    assert ids(claim(with_outbox)) == ["later"]


def test_what_is_published_is_gone(with_outbox: Any) -> None:
    with_outbox.outbox.add([entry("1"), entry("2")])
    claimed = claim(with_outbox)
    assert with_outbox.outbox.published("relay", claimed[:1]) == 1
    assert ids(with_outbox.outbox.list()) == ["2"]
    assert with_outbox.outbox.published("relay", claimed) == 1


def test_what_is_released_may_be_claimed_at_once(with_outbox: Any) -> None:
    with_outbox.outbox.add([entry("1")])
    claimed = claim(with_outbox, "a")
    assert with_outbox.outbox.release("b", claimed) == 0
    assert with_outbox.outbox.release("a", claimed) == 1
    assert ids(claim(with_outbox, "b")) == ["1"]


class TestLeases:
    def test_an_entry_goes_to_another_when_the_lease_has_run_out(
        self, with_outbox: Any, clock: Clock
    ) -> None:
        with_outbox.outbox.add([entry("1")])
        claim(with_outbox, "a", lease=30)
        clock.forward(29)
        assert claim(with_outbox, "b") == []
        clock.forward(1)
        assert ids(claim(with_outbox, "b")) == ["1"]

    def test_a_late_owner_cannot_touch_what_another_has(self, with_outbox: Any, clock: Clock) -> None:
        with_outbox.outbox.add([entry("1")])
        claimed = claim(with_outbox, "a", lease=30)
        clock.forward(30)
        claim(with_outbox, "b", lease=30)
        assert with_outbox.outbox.published("a", claimed) == 0
        assert with_outbox.outbox.extend("a", claimed, lease=1000) == 0
        assert with_outbox.outbox.release("a", claimed) == 0
        assert claim(with_outbox, "c") == []
        assert with_outbox.outbox.published("b", claimed) == 1

    def test_a_late_owner_may_finish_what_nobody_has_taken(self, with_outbox: Any, clock: Clock) -> None:
        with_outbox.outbox.add([entry("1")])
        claimed = claim(with_outbox, lease=30)
        clock.forward(31)
        assert with_outbox.outbox.published("relay", claimed) == 1

    def test_an_extended_lease_lasts_longer(self, with_outbox: Any, clock: Clock) -> None:
        with_outbox.outbox.add([entry("1")])
        claimed = claim(with_outbox, "a", lease=30)
        clock.forward(20)
        assert with_outbox.outbox.extend("a", claimed, lease=30) == 1
        clock.forward(20)
        assert claim(with_outbox, "b") == []

    def test_a_clock_set_back_leaves_nothing_stuck(self, with_outbox: Any, clock: Clock) -> None:
        with_outbox.outbox.add([entry("1")])
        claim(with_outbox, "a", lease=30)
        clock.forward(-3600)
        assert ids(claim(with_outbox, "b")) == ["1"]

    def test_a_clock_set_back_a_little_changes_nothing(self, with_outbox: Any, clock: Clock) -> None:
        with_outbox.outbox.add([entry("1")])
        claim(with_outbox, "a", lease=30)
        clock.forward(-1)
        assert claim(with_outbox, "b") == []

    def test_a_clock_set_forward_makes_duplicates_only(self, with_outbox: Any, clock: Clock) -> None:
        with_outbox.outbox.add([entry("1")])
        claim(with_outbox, "a", lease=30)
        clock.forward(3600)
        claimed = claim(with_outbox, "b", lease=30)
        assert with_outbox.outbox.published("a", claimed) == 0
        assert with_outbox.outbox.published("b", claimed) == 1


class TestOrder:
    def test_entries_with_one_key_are_not_split_among_owners(self, with_outbox: Any) -> None:
        with_outbox.outbox.add(
            [entry("1", ordering_key="k"), entry("2", ordering_key="k"), entry("3", ordering_key="other")]
        )
        first = claim(with_outbox, "a", limit=1)
        assert ids(claim(with_outbox, "b")) == ["3"]
        with_outbox.outbox.published("a", first)
        assert ids(claim(with_outbox, "b")) == ["2"]

    def test_the_owner_itself_may_go_on(self, with_outbox: Any) -> None:
        with_outbox.outbox.add([entry("1", ordering_key="k"), entry("2", ordering_key="k")])
        claim(with_outbox, "a", limit=1)
        assert ids(claim(with_outbox, "a")) == ["2"]

    def test_one_that_waits_for_receipts_holds_nobody_up(self, with_outbox: Any) -> None:
        with_outbox.outbox.add(
            [entry("1", ordering_key="k", confirm="handled"), entry("2", ordering_key="k")]
        )
        with_outbox.outbox.published("a", claim(with_outbox, "a", limit=1))
        assert ids(claim(with_outbox, "b")) == ["2"]

    def test_the_same_key_of_another_handler_is_another(self, with_outbox: Any) -> None:
        with_outbox.outbox.add(
            [entry("1", ordering_key="k", destination="other"), entry("2", ordering_key="k")]
        )
        with_outbox.outbox.claim("a", destinations=["other"], limit=1, lease=30)
        assert ids(claim(with_outbox, "b")) == ["2"]


class TestReceipts:
    @pytest.fixture
    def outbox(self, with_outbox: Any) -> Any:
        """An outbox with one entry that has been published, and waits for its receipts."""
        with_outbox.outbox.add([entry("1", confirm="handled")])
        with_outbox.outbox.published("relay", claim(with_outbox), resend_after=15)
        return with_outbox.outbox

    def test_it_is_sent_again_if_they_do_not_come(self, outbox: Any, with_outbox: Any, clock: Clock) -> None:
        clock.forward(14)
        assert claim(with_outbox) == []
        assert outbox.status().unconfirmed == 1
        clock.forward(1)
        assert ids(claim(with_outbox)) == ["1"]

    def test_a_clock_set_back_sends_it_again(self, outbox: Any, with_outbox: Any, clock: Clock) -> None:
        clock.forward(-3600)
        assert ids(claim(with_outbox)) == ["1"]

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
        self, outbox: Any, with_outbox: Any, clock: Clock
    ) -> None:
        clock.forward(15)
        again = claim(with_outbox)
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
        outbox.add([entry("1", confirm="handled")])
        assert outbox.expect("1", HANDLER, ["feed"]) == {"feed"}


def test_the_status_counts(with_outbox: Any, clock: Clock) -> None:
    assert with_outbox.outbox.status().oldest is None
    begun = datetime.fromtimestamp(clock(), tz=UTC)
    with_outbox.outbox.add([entry("1", confirm="handled")])
    with_outbox.outbox.published("relay", claim(with_outbox))
    clock.forward(1)
    with_outbox.outbox.add([entry(str(number)) for number in range(2, 7)])
    claim(with_outbox, limit=2)
    status = with_outbox.outbox.status()
    assert (status.waiting, status.claimed, status.unconfirmed) == (3, 2, 1)
    assert status.oldest == begun


def test_entries_are_shown_page_by_page(with_outbox: Any) -> None:
    with_outbox.outbox.add([entry(str(number)) for number in range(5)])
    first = with_outbox.outbox.list(limit=2)
    assert ids(first) == ["0", "1"]
    second = with_outbox.outbox.list(limit=2, after=first[-1].cursor)
    assert ids(second) == ["2", "3"]
    [last] = with_outbox.outbox.list(after=second[-1].cursor)
    assert with_outbox.outbox.list(after=last.cursor) == []


def test_a_page_begins_behind_an_entry_although_it_has_gone(with_outbox: Any) -> None:
    # Given an event that is on its way to two handlers
    with_outbox.outbox.add([entry("1"), entry("1", destination="other"), entry("2")])
    [first] = with_outbox.outbox.list(limit=1)
    # When the one that a page ends with has gone
    with_outbox.outbox.discard([first])
    # Then the next page begins with the other
    assert ids(with_outbox.outbox.list(after=first.cursor)) == ["1", "2"]


def test_a_cursor_of_somebody_elses_is_refused(with_outbox: Any) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        with_outbox.outbox.list(after="1.0/letter")


def test_entries_can_be_discarded(with_outbox: Any) -> None:
    with_outbox.outbox.add([entry("1"), entry("2")])
    claim(with_outbox)
    assert with_outbox.outbox.discard([entry("1"), entry("1"), entry("unknown")]) == 1
    assert ids(with_outbox.outbox.list()) == ["2"]


def test_many_at_once(with_outbox: Any) -> None:
    entries = [entry(str(number)) for number in range(1_001)]
    with_outbox.outbox.add(entries)
    assert claim(with_outbox, limit=2_000) == entries
    assert with_outbox.outbox.extend("relay", entries, lease=10) == 1_001
    assert with_outbox.outbox.release("relay", entries) == 1_001
    claim(with_outbox, limit=2_000)
    assert with_outbox.outbox.published("relay", entries) == 1_001
    assert with_outbox.outbox.list() == []


def test_waiting_ends_when_something_is_added(with_outbox: Any) -> None:
    outbox = with_outbox.outbox
    outbox.wait(0)  # from now on this thread listens
    added = threading.Thread(target=outbox.add, args=([entry("1")],))
    added.start()
    outbox.wait(60)
    added.join()
    assert ids(claim(with_outbox)) == ["1"]


def test_waiting_ends_after_its_time(with_outbox: Any) -> None:
    with_outbox.outbox.wait(0)
    with_outbox.outbox.wait(0.01)


def test_an_outbox_has_a_limit(with_outbox: Any) -> None:
    # Given an outbox with room for three
    outbox = type(with_outbox.outbox)(
        *([with_outbox._database] if hasattr(with_outbox, "_database") else []), max_entries=3
    )
    outbox.add([entry("1"), entry("2")])
    # When more come than there is room for, then none of them are kept
    with pytest.raises(StorageFull, match="3"):
        outbox.add([entry("3"), entry("4")])
    assert ids(outbox.list()) == ["1", "2"]
    # and what is there already needs no room
    outbox.add([entry("2"), entry("3")])
    outbox.add([entry("1"), entry("2"), entry("3")])
    # and when some have gone, there is room again
    outbox.discard([entry("1")])
    outbox.add([entry("5")])
    assert ids(outbox.list()) == ["2", "3", "5"]


def test_an_entry_says_what_is_wrong_with_it() -> None:
    with pytest.raises(ValueError, match="time zone"):
        entry("1", due=datetime(2030, 1, 1))
    with pytest.raises(ValueError, match="confirm"):
        entry("1", confirm="perhaps")


def test_what_was_held_back_may_be_claimed_when_it_is_rescheduled(with_outbox: Any, clock: Clock) -> None:
    later = datetime.fromtimestamp(clock() + 3_600, tz=UTC)
    with_outbox.outbox.add([entry(id_, due=later) for id_ in "123"])
    assert claim(with_outbox) == []

    with_outbox.outbox.reschedule([entry(id_) for id_ in "12"])

    assert ids(claim(with_outbox)) == ["1", "2"]
