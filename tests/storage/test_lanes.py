"""What every store of lanes does."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from fastapi_events.errors import StorageError
from fastapi_events.storage.lanes import (
    LONGEST_UNHEARD_SECONDS,
    UNHEARD_AGAIN_SECONDS,
    UNHEARD_SECONDS,
    Due,
    Item,
    Lane,
    Move,
    Outcome,
)
from fastapi_events.storage.redis import RedisStore
from fastapi_events.storage.sqlalchemy import SqlStore, database
from fastapi_events.storage.sqlalchemy.schema import lanes
from tests.storage.conftest import Clock, postgres_url, schema_of_its_own

HERE = "list:events"
LANE = Lane(HERE, "app.handlers.feed", "cat-7")
OTHER = Lane(HERE, "app.handlers.feed", "cat\n8")
AFTER = Lane(HERE, "app.handlers.bill", "cat-7")


def items(*ids: str, queue: str = "events") -> list[Item]:
    return [Item(each, f"text\nof {each} é", queue) for each in ids]


def put(store: Any, *ids: str, lane: Lane = LANE) -> list[Lane]:
    """Put items, and say which lanes have to be rung."""
    return [each.lane for each in store.lanes.put({lane: items(*ids)}).due]


def take(store: Any, token: str = "a", lease: float = 30.0, lane: Lane = LANE, limit: int = 100) -> Any:
    taken = store.lanes.take([lane], token=token, lease=lease, limit=limit)
    return taken[0] if taken else None


def ids_of(taken: Any) -> list[str]:
    return [each.id for each in taken.items]


def finish(store: Any, *ids: str, token: str = "a", lane: Lane = LANE, **into: Any) -> Any:
    [finished] = store.lanes.finish([Move(lane, ids, **into)], token=token)
    return finished


def due(store: Any, **settings: Any) -> list[Lane]:
    return sorted(each.lane for each in store.lanes.due(HERE, **settings))


# Items


def test_items_are_given_out_in_the_order_in_which_they_came(store: Any) -> None:
    put(store, "1", "2")
    put(store, "3")
    taken = take(store)
    assert list(taken.items) == items("1", "2", "3")
    assert (taken.lane, taken.note, taken.is_suspect) == (LANE, "", False)


def test_no_more_are_given_out_than_are_asked_for(store: Any) -> None:
    put(store, "1", "2", "3")
    assert ids_of(take(store, limit=2)) == ["1", "2"]
    finish(store, "1")
    assert ids_of(take(store, limit=2)) == ["2", "3"]


def test_what_is_put_again_stays_where_it_is(store: Any) -> None:
    put(store, "1", "2", "2")
    put(store, "2", "3", "1")
    assert ids_of(take(store)) == ["1", "2", "3"]


def test_putting_nothing_makes_no_lane(store: Any, clock: Clock) -> None:
    assert put(store) == []
    clock.forward(3_600)
    assert due(store) == []
    assert take(store) is None


def test_lanes_are_independent(store: Any) -> None:
    assert put(store, "1") == [LANE]
    assert put(store, "1", lane=OTHER) == [OTHER]
    assert ids_of(take(store)) == ["1"]
    assert ids_of(take(store, "b", lane=OTHER)) == ["1"]


def test_several_lanes_are_put_and_taken_at_once(store: Any) -> None:
    placed = store.lanes.put({LANE: items("1"), OTHER: items("2", "3"), AFTER: []})
    assert sorted(placed.due) == sorted([Due(LANE, "events"), Due(OTHER, "events")])
    taken = store.lanes.take([LANE, AFTER, OTHER], token="a", lease=30, limit=10)
    assert {each.lane: ids_of(each) for each in taken} == {LANE: ["1"], OTHER: ["2", "3"]}


def test_a_bell_is_rung_in_the_queue_of_the_first_item(store: Any, clock: Clock) -> None:
    placed = store.lanes.put({LANE: [*items("1", queue="one"), *items("2", queue="two")]})
    assert list(placed.due) == [Due(LANE, "one")]
    take(store)
    finish(store, "1")
    assert store.lanes.release(LANE, token="a") == Due(LANE, "two")
    clock.forward(3_600)
    assert list(store.lanes.due(HERE)) == [Due(LANE, "two")]


def test_a_full_lane_takes_all_or_nothing_and_others_take_theirs(store: Any) -> None:
    where = getattr(store, "_database", getattr(store, "_server", None))
    lanes = type(store.lanes)(*([] if where is None else [where]), max_items=2)
    lanes.put({LANE: items("1")})
    placed = lanes.put({LANE: items("2", "3"), OTHER: items("4", "5")})
    assert list(placed.full) == [LANE]
    assert [each.lane for each in placed.due] == [OTHER]
    assert not lanes.put({LANE: items("1", "2")}).full
    assert list(lanes.put({LANE: items("3")}).full) == [LANE]
    assert not lanes.put({LANE: items("1")}).full
    assert ids_of(lanes.take([LANE], token="a", lease=30, limit=9)[0]) == ["1", "2"]


# Holding


def test_one_holder_at_a_time(store: Any, clock: Clock) -> None:
    put(store, "1", "2")
    assert take(store, "a", lease=30)
    clock.forward(10)
    assert take(store, "b") is None
    assert take(store, "a", lease=20)
    clock.forward(20)
    assert take(store, "b", lease=100)
    # the late one changes nothing
    assert store.lanes.extend([LANE], token="a", lease=1000) is False
    assert store.lanes.release(LANE, token="a", note="mine") is None
    assert store.lanes.started(LANE, token="a") == 0
    assert finish(store, "1", token="a").outcome is Outcome.LOST
    assert ids_of(take(store, "b")) == ["1", "2"]


def test_a_lease_that_nobody_took_is_still_its_holders(store: Any, clock: Clock) -> None:
    put(store, "1")
    take(store, lease=30)
    clock.forward(60)
    assert finish(store, "1").outcome is Outcome.DONE


def test_an_extended_lease_lasts_longer(store: Any, clock: Clock) -> None:
    put(store, "1")
    take(store, lease=30)
    clock.forward(20)
    assert store.lanes.extend([LANE], token="a", lease=30) is True
    assert store.lanes.extend([LANE, OTHER], token="a", lease=30) is False
    clock.forward(20)
    assert take(store, "b") is None


def test_a_released_lane_may_be_taken_at_once(store: Any) -> None:
    put(store, "1", "2")
    take(store)
    assert store.lanes.release(LANE, token="a") == Due(LANE, "events")
    taken = take(store, "b")
    assert ids_of(taken) == ["1", "2"]
    assert not taken.is_suspect


def test_who_never_came_back_makes_the_first_item_suspect(store: Any, clock: Clock) -> None:
    put(store, "1", "2")
    take(store, "a", lease=30)
    clock.forward(31)
    assert take(store, "b").is_suspect
    assert store.lanes.started(LANE, token="b") == 1
    clock.forward(31)
    assert take(store, "c").is_suspect
    assert store.lanes.started(LANE, token="c") == 2
    # Once it is done, or its failure was survived, nothing is
    finish(store, "1", token="c")
    assert store.lanes.started(LANE, token="c") == 1
    store.lanes.release(LANE, token="c", note="failed")
    assert not take(store, "d").is_suspect


# Finishing


def test_what_is_finished_is_gone_and_the_rest_still_held(store: Any) -> None:
    put(store, "1", "2", "3")
    take(store)
    finished = finish(store, "1", "2")
    assert (finished.outcome, finished.left, list(finished.due)) == (Outcome.DONE, 1, [])
    assert take(store, "b") is None
    assert finish(store, "3").left == 0
    assert take(store, "b") is None
    assert put(store, "4") == [LANE]
    assert ids_of(take(store, "b")) == ["4"]


def test_finishing_tells_what_was_put_meanwhile(store: Any) -> None:
    put(store, "1")
    take(store)
    assert put(store, "2") == []  # the holder will see it
    assert finish(store, "1").left == 1
    assert ids_of(take(store)) == ["2"]


def test_finishing_twice_is_harmless(store: Any) -> None:
    put(store, "1", "2")
    take(store)
    finish(store, "1")
    assert finish(store, "1").left == 1
    finish(store, "2")
    assert finish(store, "2").outcome is Outcome.LOST


def test_what_follows_is_put_in_the_same_step(store: Any) -> None:
    put(store, "1", "2")
    take(store)
    finished = finish(store, "1", "2", into={AFTER: items("1", "2"), OTHER: items("1")})
    assert sorted(finished.due) == [Due(AFTER, "events"), Due(OTHER, "events")]
    assert ids_of(take(store, "b", lane=AFTER)) == ["1", "2"]


def test_who_has_lost_the_lane_puts_nothing(store: Any, clock: Clock) -> None:
    put(store, "1")
    take(store, "a", lease=30)
    clock.forward(31)
    take(store, "b")
    assert finish(store, "1", token="a", into={AFTER: items("1")}).outcome is Outcome.LOST
    assert take(store, lane=AFTER) is None


def test_where_what_follows_has_no_room_nothing_is_finished(store: Any) -> None:
    where = getattr(store, "_database", getattr(store, "_server", None))
    lanes = type(store.lanes)(*([] if where is None else [where]), max_items=2)
    lanes.put({LANE: items("1"), OTHER: items("8"), AFTER: items("5", "6")})
    lanes.take([LANE, OTHER], token="a", lease=30, limit=9)
    moves = [Move(LANE, ["1"], {AFTER: items("1")}), Move(OTHER, ["8"])]
    finished = lanes.finish(moves, token="a")
    assert [each.outcome for each in finished] == [Outcome.FULL, Outcome.DONE]
    assert lanes.take([LANE], token="a", lease=30, limit=9)


# Waiting for another attempt


def test_a_lane_waits_for_its_time_with_all_that_is_in_it(store: Any, clock: Clock) -> None:
    put(store, "1")
    take(store)
    assert store.lanes.release(LANE, token="a", after=60, note="1 failed") == Due(LANE, "events")
    assert take(store, "b") is None
    assert put(store, "2") == []
    clock.forward(59)
    assert due(store, unheard=True) == []
    clock.forward(1)
    taken = take(store, "b")
    assert taken.note == "1 failed"
    assert ids_of(taken) == ["1", "2"]
    # a note stays until there is another, or the item is finished
    store.lanes.release(LANE, token="b")
    assert take(store, "b").note == "1 failed"
    finish(store, "1", token="b")
    store.lanes.release(LANE, token="b")
    assert take(store, "b").note == ""


# Bells


def test_a_lane_that_was_rung_is_not_rung_at_once_again(store: Any) -> None:
    assert put(store, "1") == [LANE]
    assert put(store, "2") == []
    assert due(store) == []


def test_lanes_that_nobody_has_taken_are_due_less_and_less_often(store: Any, clock: Clock) -> None:
    put(store, "1")
    pauses = []
    waited = 0.0
    while len(pauses) < 8:
        clock.forward(1)
        waited += 1
        if due(store):
            pauses.append(waited)
            waited = 0.0
    assert pauses[:4] == [UNHEARD_SECONDS, UNHEARD_AGAIN_SECONDS, 2 * UNHEARD_AGAIN_SECONDS, 60]
    assert pauses[-1] == LONGEST_UNHEARD_SECONDS
    # Who starts anew rings them all the same
    clock.forward(UNHEARD_SECONDS)
    assert due(store) == []
    assert due(store, unheard=True) == [LANE]
    # Once somebody has come, it begins anew
    take(store)
    store.lanes.release(LANE, token="a")
    clock.forward(UNHEARD_SECONDS)
    assert due(store) == [LANE]


def test_a_lane_whose_bell_could_not_be_rung_is_due_at_once(store: Any, clock: Clock) -> None:
    put(store, "1")
    for _ in range(5):
        store.lanes.missed([LANE, OTHER])
        assert due(store) == [LANE]
        assert due(store) == []
    clock.forward(UNHEARD_AGAIN_SECONDS)
    assert due(store) == [LANE]


def test_a_missed_bell_is_due_no_sooner_than_the_attempt(store: Any, clock: Clock) -> None:
    put(store, "1")
    take(store)
    store.lanes.release(LANE, token="a", after=60)
    store.lanes.missed([LANE])
    assert due(store) == []
    clock.forward(60)
    assert due(store) == [LANE]


def test_a_lane_is_due_when_its_holder_never_came_back(store: Any, clock: Clock) -> None:
    put(store, "1")
    take(store, lease=30)
    store.lanes.missed([LANE])  # by somebody who rang it before
    clock.forward(29)
    assert due(store) == []
    clock.forward(1)
    assert due(store) == [LANE]


def test_each_due_lane_is_given_out_to_one(store: Any, clock: Clock) -> None:
    store.lanes.put({Lane(HERE, "feed", str(number)): items("1") for number in range(5)})
    store.lanes.put({Lane("another", "feed", "1"): items("1")})
    clock.forward(10)
    first = store.lanes.due(HERE, limit=3)
    second = store.lanes.due(HERE, limit=3)
    assert (len(first), len(second)) == (3, 2)
    assert len({*first, *second}) == 5
    assert [each.lane.destination for each in store.lanes.due("another")] == ["another"]


def test_an_empty_lane_is_not_due(store: Any, clock: Clock) -> None:
    put(store, "1")
    take(store)
    finish(store, "1")
    clock.forward(3_600)
    assert due(store, unheard=True) == []


def test_a_clock_set_back_leaves_nothing_stuck(store: Any, clock: Clock) -> None:
    put(store, "1")
    take(store, "a", lease=30)
    put(store, "2", lane=OTHER)
    take(store, "a", lane=OTHER)
    store.lanes.release(OTHER, token="a", after=60)
    clock.forward(-3_600)
    assert due(store) == sorted([LANE, OTHER])
    assert take(store, "b")
    assert take(store, "b", lane=OTHER)


def test_a_store_keeps_its_incarnation(store: Any) -> None:
    assert store.lanes.incarnation() == store.lanes.incarnation()


# At once


def test_many_who_put_at_once_lose_nothing(on_own_clock: Any) -> None:
    # Given four threads that put into one empty lane
    rung: list[Lane] = []

    def work(number: int) -> None:
        for count in range(10):
            rung.extend(put(on_own_clock, f"{number}-{count}"))

    _at_once(work)
    # Then one bell was rung, and the lane holds all, those of each thread in their order
    assert rung == [LANE]
    seen = ids_of(take(on_own_clock))
    assert len(seen) == 40
    for number in range(4):
        assert [each for each in seen if each.startswith(f"{number}-")] == [
            f"{number}-{count}" for count in range(10)
        ]


def test_of_many_who_take_at_once_one_has_the_lane(on_own_clock: Any) -> None:
    put(on_own_clock, "1")
    taken: list[str] = []

    def work(number: int) -> None:
        if take(on_own_clock, str(number)):
            taken.append(str(number))

    _at_once(work)
    assert len(taken) == 1


def test_lanes_that_follow_one_another_crosswise_do_not_block_one_another(on_own_clock: Any) -> None:
    # Given threads that move items between the same lanes, in both directions
    lanes = [Lane(HERE, "feed", str(number)) for number in range(4)]
    on_own_clock.lanes.put({lane: items("0") for lane in lanes})
    failed: list[Exception] = []

    def work(number: int) -> None:
        own, token = lanes[number], str(number)
        others: Sequence[Lane] = [each for each in lanes[::-1] if each != own]
        try:
            for count in range(10):
                on_own_clock.lanes.take([own], token=token, lease=30, limit=1)
                into = {other: items(f"{number}-{count}") for other in others}
                on_own_clock.lanes.finish([Move(own, ["0"], into)], token=token)
        except Exception as error:
            failed.append(error)

    _at_once(work)
    assert failed == []


def _at_once(work: Any) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.postgres
def test_a_transaction_that_hangs_costs_no_lease_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another transaction has locked a lane, as one that hangs does; others are extended all the same."""
    monkeypatch.setattr(database, "_LOCK_SECONDS", 0.2)
    with schema_of_its_own() as schema:
        store = SqlStore(f"{postgres_url()}?options=-csearch_path%3D{schema}")
        store.setup()
        put(store, "1")
        put(store, "1", lane=OTHER)
        store.lanes.take([LANE, OTHER], token="a", lease=30, limit=1)
        stranger = sa.create_engine(f"{postgres_url()}?options=-csearch_path%3D{schema}")
        with stranger.begin() as hanging:
            name = "\n".join(LANE)
            hanging.execute(sa.select(lanes.c.name).where(lanes.c.name == name).with_for_update())
            with pytest.raises(StorageError, match="lock"):
                store.lanes.extend([LANE], token="a", lease=30)
            assert store.lanes.extend([OTHER], token="a", lease=30)
        assert store.lanes.extend([LANE], token="a", lease=30)
        stranger.dispose()
        store.close()


@pytest.mark.valkey
def test_redis_says_whether_it_forgets_and_has_a_name_until_it_does(valkey_url: str) -> None:
    store = RedisStore(valkey_url, prefix="test-forgets")
    client = store.lanes._server.client
    before = client.config_get("appendonly")["appendonly"]
    try:
        client.config_set("appendonly", "no")
        assert "appendonly off" in str(store.lanes.forgets())
        client.config_set("appendonly", "yes")
        assert store.lanes.forgets() is None
    finally:
        client.config_set("appendonly", before)
    name = store.lanes.incarnation()
    assert name == store.lanes.incarnation()
    client.delete("{test-forgets}:lane:incarnation")
    assert store.lanes.incarnation() != name
    store.close()


def test_an_item_is_found_by_the_beginning_of_its_id_with_what_stands_before_it(store: Any) -> None:
    put(store, "a1", "b1", "a2")
    put(store, "a1", lane=OTHER)
    put(store, "a1", lane=Lane("elsewhere*", "t", "k"))

    found = store.lanes.find(HERE, "a")

    assert [(each.lane, each.item.id, each.ahead) for each in found] == [
        (OTHER, "a1", 0), (LANE, "a1", 0), (LANE, "a2", 2),
    ]  # fmt: skip
    assert found[0].item.text == items("a1")[0].text
    assert [each.lane.destination for each in store.lanes.find("elsewhere*", "a1")] == ["elsewhere*"]
    [one] = store.lanes.find(HERE, "a", limit=1)
    assert one in found
    assert list(store.lanes.find(HERE, "c")) == []
