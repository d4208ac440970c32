"""What all stores share."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from fastapi_events.storage.base import CLOCK_SLACK_SECONDS, Bell, Hold, Store, check_aware, moment


def test_a_store_that_needs_no_preparation_has_none() -> None:
    store = Store()
    store.setup()
    store.check()
    store.close()


def test_a_stretch_of_time_lasts_up_to_its_end() -> None:
    hold = Hold(100.0, 110.0)

    assert hold.lasts(100.0)
    assert hold.lasts(109.9)
    assert not hold.lasts(110.0)


def test_one_that_begins_in_the_future_is_void_beyond_the_slack_of_clocks() -> None:
    assert Hold(100.0, 110.0).lasts(100.0 - CLOCK_SLACK_SECONDS)
    assert not Hold(100.0, 110.0).lasts(99.9 - CLOCK_SLACK_SECONDS)


def test_a_bell_is_heard_once_by_each_thread() -> None:
    bell = Bell()
    bell.ring()

    assert bell.wait(0.0)
    assert not bell.wait(0.0)
    heard: list[bool] = []
    other = threading.Thread(target=lambda: heard.append(bell.wait(0.0)))
    other.start()
    other.join()
    assert heard == [True]


def test_a_bell_wakes_who_waits() -> None:
    bell, heard = Bell(), []
    waiting = threading.Thread(target=lambda: heard.append(bell.wait(60.0)))
    waiting.start()

    bell.ring()

    waiting.join(60.0)
    assert heard == [True]


def test_a_kept_time_is_in_utc() -> None:
    assert moment(0.5) == datetime(1970, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)


def test_a_time_without_a_zone_is_refused_by_its_name() -> None:
    check_aware("due", None)
    check_aware("due", datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="due must have a time zone"):
        check_aware("due", datetime(2026, 1, 1))
