"""What every inbox does."""

from __future__ import annotations

from typing import Any

from fastapi_events.storage.base import DONE, NEW, Busy
from fastapi_events.testing.contracts.clock import StoppedClock

KEY = "event 1, subscription app.handlers.feed"


class InboxContract:
    """Tests of the fixture `store`, whose `inbox` is looked at, and which goes by the fixture `clock`."""

    def test_work_is_done_once(self, store: Any) -> None:
        assert store.inbox.begin(KEY, token="a", lease=30) is NEW
        assert store.inbox.complete(KEY, token="a", keep=3600) is True
        assert store.inbox.begin(KEY, token="b", lease=30) is DONE
        assert store.inbox.begin(KEY, token="a", lease=30) is DONE
        assert store.inbox.begin("another", token="a", lease=30) is NEW

    def test_two_do_not_work_at_once(self, store: Any, clock: StoppedClock) -> None:
        store.inbox.begin(KEY, token="a", lease=30)
        clock.forward(10)
        assert store.inbox.begin(KEY, token="b", lease=30) == Busy(20.0)
        assert store.inbox.begin(KEY, token="a", lease=30) is NEW

    def test_another_begins_when_the_lease_has_run_out(self, store: Any, clock: StoppedClock) -> None:
        store.inbox.begin(KEY, token="a", lease=30)
        clock.forward(30)
        assert store.inbox.begin(KEY, token="b", lease=30) is NEW
        # and the first one, which comes late, changes nothing
        assert store.inbox.extend(KEY, token="a", lease=1000) is False
        assert store.inbox.complete(KEY, token="a", keep=3600) is False
        store.inbox.release(KEY, token="a")
        assert isinstance(store.inbox.begin(KEY, token="c", lease=30), Busy)
        assert store.inbox.complete(KEY, token="b", keep=3600) is True
        assert store.inbox.complete(KEY, token="a", keep=3600) is False

    def test_a_late_owner_may_complete_what_nobody_has_taken(self, store: Any, clock: StoppedClock) -> None:
        store.inbox.begin(KEY, token="a", lease=30)
        clock.forward(31)
        assert store.inbox.complete(KEY, token="a", keep=3600) is True
        assert store.inbox.begin(KEY, token="b", lease=30) is DONE

    def test_completing_twice_is_harmless(self, store: Any) -> None:
        store.inbox.begin(KEY, token="a", lease=30)
        assert store.inbox.complete(KEY, token="a", keep=3600) is True
        assert store.inbox.complete(KEY, token="a", keep=3600) is True

    def test_an_extended_lease_lasts_longer(self, store: Any, clock: StoppedClock) -> None:
        store.inbox.begin(KEY, token="a", lease=30)
        clock.forward(20)
        assert store.inbox.extend(KEY, token="a", lease=30) is True
        clock.forward(20)
        assert isinstance(store.inbox.begin(KEY, token="b", lease=30), Busy)

    def test_what_is_done_cannot_be_extended_or_released(self, store: Any) -> None:
        store.inbox.begin(KEY, token="a", lease=30)
        store.inbox.complete(KEY, token="a", keep=3600)
        assert store.inbox.extend(KEY, token="a", lease=30) is False
        store.inbox.release(KEY, token="a")
        assert store.inbox.begin(KEY, token="b", lease=30) is DONE

    def test_what_has_failed_may_begin_again_at_once(self, store: Any) -> None:
        store.inbox.begin(KEY, token="a", lease=30)
        store.inbox.release(KEY, token="a")
        assert store.inbox.begin(KEY, token="b", lease=30) is NEW

    def test_what_is_done_is_forgotten_after_its_time(self, store: Any, clock: StoppedClock) -> None:
        store.inbox.begin(KEY, token="a", lease=30)
        store.inbox.complete(KEY, token="a", keep=3600)
        clock.forward(3599)
        store.inbox.expire()
        assert store.inbox.begin(KEY, token="b", lease=30) is DONE
        clock.forward(1)
        assert store.inbox.begin(KEY, token="b", lease=30) is NEW

    def test_expiring_counts(self, store: Any, clock: StoppedClock) -> None:
        for number in range(3):
            store.inbox.begin(str(number), token="a", lease=30)
        store.inbox.complete("2", token="a", keep=3600)
        clock.forward(60)
        assert store.inbox.expire() in (2, 0)  # a server that forgets by itself has nothing to count
        assert store.inbox.expire() == 0
        assert store.inbox.begin("2", token="b", lease=30) is DONE

    def test_a_clock_set_back_leaves_nothing_stuck(self, store: Any, clock: StoppedClock) -> None:
        store.inbox.begin(KEY, token="a", lease=30)
        store.inbox.begin("done", token="a", lease=30)
        store.inbox.complete("done", token="a", keep=3600)
        clock.forward(-3600)
        assert store.inbox.begin(KEY, token="b", lease=30) is NEW
        assert store.inbox.begin("done", token="b", lease=30) is DONE
