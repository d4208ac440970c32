"""Every store of lanes does what it has to, also for many at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from fastapi_events.errors import StorageError
from fastapi_events.storage.lanes import (
    Lane,
    Move,
    Outcome,
)
from fastapi_events.storage.redis import RedisStore
from fastapi_events.storage.sqlalchemy import SqlStore, database
from fastapi_events.storage.sqlalchemy.schema import lanes
from fastapi_events.testing.contracts import LanesContract
from fastapi_events.testing.contracts.lanes import _AFTER as AFTER
from fastapi_events.testing.contracts.lanes import _HERE as HERE
from fastapi_events.testing.contracts.lanes import _LANE as LANE
from fastapi_events.testing.contracts.lanes import _OTHER as OTHER
from fastapi_events.testing.contracts.lanes import _ids_of as ids_of
from fastapi_events.testing.contracts.lanes import _items as items
from fastapi_events.testing.contracts.lanes import _put as put
from fastapi_events.testing.contracts.lanes import _take as take
from tests.storage.conftest import postgres_url, schema_of_its_own


class TestLanes(LanesContract):
    pass


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


def test_where_what_follows_has_no_room_nothing_is_finished(store: Any) -> None:
    where = getattr(store, "_database", getattr(store, "_server", None))
    lanes = type(store.lanes)(*([] if where is None else [where]), max_items=2)
    lanes.put({LANE: items("1"), OTHER: items("8"), AFTER: items("5", "6")})
    lanes.take([LANE, OTHER], token="a", lease=30, limit=9)
    moves = [Move(LANE, ["1"], {AFTER: items("1")}), Move(OTHER, ["8"])]
    finished = lanes.finish(moves, token="a")
    assert [each.outcome for each in finished] == [Outcome.FULL, Outcome.DONE]
    assert lanes.take([LANE], token="a", lease=30, limit=9)


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
