"""What every store of lanes does."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fastapi_events.errors import StorageFull
from fastapi_events.storage.base import GONE, HEAD, WAITING, Busy
from tests.storage.conftest import Clock

LANE = "app.handlers.feed cat-7"


def enter(store: Any, id_: str, token: str = "a", lease: float = 30.0) -> object:
    return store.lanes.enter(LANE, id_, token=token, lease=lease)


def test_items_leave_in_the_order_in_which_they_came(store: Any) -> None:
    lanes = store.lanes
    assert lanes.push(LANE, [("1", "one"), ("2", "two")]) == "1"
    assert lanes.push(LANE, [("3", "three")]) is None
    assert enter(store, "2") is WAITING
    assert enter(store, "1") is HEAD
    assert lanes.leave(LANE, "1", token="a") == ("2", "two")
    assert enter(store, "1") is GONE
    assert enter(store, "2") is HEAD
    assert lanes.leave(LANE, "2", token="a") == ("3", "three")
    assert enter(store, "3") is HEAD
    assert lanes.leave(LANE, "3", token="a") is None
    assert lanes.push(LANE, [("4", "four")]) == "4"


def test_what_is_pushed_again_stays_where_it_is(store: Any) -> None:
    store.lanes.push(LANE, [("1", "one"), ("2", "two"), ("2", "again")])
    assert store.lanes.push(LANE, [("2", "again"), ("3", "three")]) is None
    assert store.lanes.push(LANE, [("1", "again")]) == "1"  # its message may have been lost
    assert store.lanes.leave(LANE, "1", token="a") == ("2", "two")
    assert store.lanes.leave(LANE, "2", token="a") == ("3", "three")


def test_pushing_nothing_makes_no_lane(store: Any) -> None:
    assert store.lanes.push(LANE, []) is None
    assert store.lanes.stalled(older_than=-1) == []


def test_lanes_are_strangers(store: Any) -> None:
    store.lanes.push(LANE, [("1", "one")])
    assert store.lanes.push("another", [("1", "other")]) == "1"
    enter(store, "1")
    assert store.lanes.enter("another", "1", token="b", lease=30) is HEAD


def test_one_owner_at_a_time(store: Any, clock: Clock) -> None:
    store.lanes.push(LANE, [("1", "one")])
    assert enter(store, "1", "a", lease=30) is HEAD
    clock.forward(10)
    assert enter(store, "1", "b") == Busy(20.0)
    assert enter(store, "1", "a", lease=20) is HEAD
    clock.forward(20)
    assert enter(store, "1", "b") is HEAD
    # the late one changes nothing
    assert store.lanes.extend(LANE, "1", token="a", lease=1000) is False
    store.lanes.release(LANE, "1", token="a")
    assert store.lanes.leave(LANE, "1", token="a") is None
    assert isinstance(enter(store, "1", "c"), Busy)


def test_an_extended_lease_lasts_longer(store: Any, clock: Clock) -> None:
    store.lanes.push(LANE, [("1", "one")])
    enter(store, "1", lease=30)
    clock.forward(20)
    assert store.lanes.extend(LANE, "1", token="a", lease=30) is True
    assert store.lanes.extend(LANE, "2", token="a", lease=30) is False
    clock.forward(20)
    assert isinstance(enter(store, "1", "b"), Busy)


def test_a_released_head_may_be_entered_at_once(store: Any) -> None:
    store.lanes.push(LANE, [("1", "one"), ("2", "two")])
    enter(store, "1")
    store.lanes.release(LANE, "1", token="a")
    assert enter(store, "1", "b") is HEAD


def test_leaving_gives_what_was_pushed_meanwhile(store: Any) -> None:
    store.lanes.push(LANE, [("1", "one")])
    enter(store, "1")
    assert store.lanes.push(LANE, [("2", "two")]) is None
    assert store.lanes.leave(LANE, "1", token="a") == ("2", "two")


def test_leaving_twice_is_harmless(store: Any) -> None:
    store.lanes.push(LANE, [("1", "one"), ("2", "two")])
    enter(store, "1")
    store.lanes.leave(LANE, "1", token="a")
    assert store.lanes.leave(LANE, "1", token="a") == ("2", "two")
    assert store.lanes.leave(LANE, "2", token="a") is None
    assert store.lanes.leave(LANE, "2", token="a") is None


def test_only_the_head_leaves(store: Any) -> None:
    store.lanes.push(LANE, [("1", "one"), ("2", "two")])
    assert store.lanes.leave(LANE, "2", token="a") is None
    assert enter(store, "1") is HEAD


def test_heads_that_nobody_works_at_are_found(store: Any, clock: Clock) -> None:
    store.lanes.push(LANE, [("1", "one"), ("2", "two")])
    store.lanes.push("another", [("1", "other")])
    assert store.lanes.stalled(older_than=60) == []
    clock.forward(61)
    enter(store, "1", lease=30)
    assert store.lanes.stalled(older_than=60) == [("another", "1", "other")]
    clock.forward(30)  # and the worker has died
    assert (LANE, "1", "one") in store.lanes.stalled(older_than=60)
    assert store.lanes.stalled(older_than=60, lane="another") == [("another", "1", "other")]
    assert store.lanes.stalled(older_than=60, lane="nowhere") == []
    assert len(store.lanes.stalled(older_than=60, limit=1)) == 1
    # When the head leaves, the next one has only just come
    store.lanes.leave(LANE, "1", token="a")
    assert store.lanes.stalled(older_than=60) == [("another", "1", "other")]


def test_a_clock_set_back_leaves_nothing_stuck(store: Any, clock: Clock) -> None:
    store.lanes.push(LANE, [("1", "one")])
    enter(store, "1", "a", lease=30)
    clock.forward(-3600)
    assert store.lanes.stalled(older_than=60) == [(LANE, "1", "one")]
    assert enter(store, "1", "b") is HEAD


def test_a_lane_has_a_limit(store: Any) -> None:
    where = getattr(store, "_database", getattr(store, "_server", None))
    lanes = type(store.lanes)(*([] if where is None else [where]), max_items=2)
    lanes.push(LANE, [("1", "one")])
    with pytest.raises(StorageFull, match="2"):
        lanes.push(LANE, [("2", "two"), ("3", "three")])
    lanes.push(LANE, [("2", "two")])
    assert lanes.push(LANE, [("1", "one")]) == "1"


def test_of_many_who_push_at_once_one_has_the_head(on_own_clock: Any) -> None:
    # Given four threads that push to one empty lane
    heads: list[str] = []

    def push(number: int) -> None:
        names = [f"{number}-{count}" for count in range(10)]
        heads.extend(name for name in names if on_own_clock.lanes.push(LANE, [(name, "text")]))

    threads = [threading.Thread(target=push, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then exactly one of them has to send a message, and the lane holds all in one order
    assert len(heads) == 1
    id_, seen = heads[0], []
    while id_:
        seen.append(id_)
        assert on_own_clock.lanes.enter(LANE, id_, token="a", lease=30) is HEAD
        after = on_own_clock.lanes.leave(LANE, id_, token="a")
        id_ = after[0] if after else ""
    assert len(set(seen)) == 40
