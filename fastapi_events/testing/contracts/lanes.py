"""What every store of lanes does."""

from __future__ import annotations

from typing import Any

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

_HERE = "list:events"
_LANE = Lane(_HERE, "app.handlers.feed", "cat-7")
_OTHER = Lane(_HERE, "app.handlers.feed", "cat\n8")
_AFTER = Lane(_HERE, "app.handlers.bill", "cat-7")


def _items(*ids: str, queue: str = "events") -> list[Item]:
    return [Item(each, f"text\nof {each} é", queue) for each in ids]


def _put(store: Any, *ids: str, lane: Lane = _LANE) -> list[Lane]:
    """Put items, and return which lanes have to be rung."""
    return [each.lane for each in store.lanes.put({lane: _items(*ids)}).due]


def _take(store: Any, token: str = "a", lease: float = 30.0, lane: Lane = _LANE, limit: int = 100) -> Any:
    taken = store.lanes.take([lane], token=token, lease=lease, limit=limit)
    return taken[0] if taken else None


def _ids_of(taken: Any) -> list[str]:
    return [each.id for each in taken.items]


def _finish(store: Any, *ids: str, token: str = "a", lane: Lane = _LANE, **into: Any) -> Any:
    [finished] = store.lanes.finish([Move(lane, ids, **into)], token=token)
    return finished


def _due(store: Any, **settings: Any) -> list[Lane]:
    return sorted(each.lane for each in store.lanes.due(_HERE, **settings))


class LanesContract:
    """Tests of the fixture `store`, whose `lanes` are looked at; it goes by the fixture `clock`."""

    def test_items_are_given_out_in_the_order_in_which_they_came(self, store: Any) -> None:
        _put(store, "1", "2")
        _put(store, "3")
        taken = _take(store)
        assert list(taken.items) == _items("1", "2", "3")
        assert (taken.lane, taken.note, taken.is_suspect) == (_LANE, "", False)

    def test_no_more_are_given_out_than_are_asked_for(self, store: Any) -> None:
        _put(store, "1", "2", "3")
        assert _ids_of(_take(store, limit=2)) == ["1", "2"]
        _finish(store, "1")
        assert _ids_of(_take(store, limit=2)) == ["2", "3"]

    def test_what_is_put_again_stays_where_it_is(self, store: Any) -> None:
        _put(store, "1", "2", "2")
        _put(store, "2", "3", "1")
        assert _ids_of(_take(store)) == ["1", "2", "3"]

    def test_putting_nothing_makes_no_lane(self, store: Any, clock: Any) -> None:
        assert _put(store) == []
        clock.forward(3_600)
        assert _due(store) == []
        assert _take(store) is None

    def test_lanes_are_independent(self, store: Any) -> None:
        assert _put(store, "1") == [_LANE]
        assert _put(store, "1", lane=_OTHER) == [_OTHER]
        assert _ids_of(_take(store)) == ["1"]
        assert _ids_of(_take(store, "b", lane=_OTHER)) == ["1"]

    def test_several_lanes_are_put_and_taken_at_once(self, store: Any) -> None:
        placed = store.lanes.put({_LANE: _items("1"), _OTHER: _items("2", "3"), _AFTER: []})
        assert sorted(placed.due) == sorted([Due(_LANE, "events"), Due(_OTHER, "events")])
        taken = store.lanes.take([_LANE, _AFTER, _OTHER], token="a", lease=30, limit=10)
        assert {each.lane: _ids_of(each) for each in taken} == {_LANE: ["1"], _OTHER: ["2", "3"]}

    def test_a_bell_is_rung_in_the_queue_of_the_first_item(self, store: Any, clock: Any) -> None:
        placed = store.lanes.put({_LANE: [*_items("1", queue="one"), *_items("2", queue="two")]})
        assert list(placed.due) == [Due(_LANE, "one")]
        _take(store)
        _finish(store, "1")
        assert store.lanes.release(_LANE, token="a") == Due(_LANE, "two")
        clock.forward(3_600)
        assert list(store.lanes.due(_HERE)) == [Due(_LANE, "two")]

    def test_one_holder_at_a_time(self, store: Any, clock: Any) -> None:
        _put(store, "1", "2")
        assert _take(store, "a", lease=30)
        clock.forward(10)
        assert _take(store, "b") is None
        assert _take(store, "a", lease=20)
        clock.forward(20)
        assert _take(store, "b", lease=100)
        # the late one changes nothing
        assert store.lanes.extend([_LANE], token="a", lease=1000) is False
        assert store.lanes.release(_LANE, token="a", note="mine") is None
        assert store.lanes.started(_LANE, token="a") == 0
        assert _finish(store, "1", token="a").outcome is Outcome.LOST
        assert _ids_of(_take(store, "b")) == ["1", "2"]

    def test_a_lease_that_nobody_took_is_still_its_holders(self, store: Any, clock: Any) -> None:
        _put(store, "1")
        _take(store, lease=30)
        clock.forward(60)
        assert _finish(store, "1").outcome is Outcome.DONE

    def test_an_extended_lease_lasts_longer(self, store: Any, clock: Any) -> None:
        _put(store, "1")
        _take(store, lease=30)
        clock.forward(20)
        assert store.lanes.extend([_LANE], token="a", lease=30) is True
        assert store.lanes.extend([_LANE, _OTHER], token="a", lease=30) is False
        clock.forward(20)
        assert _take(store, "b") is None

    def test_a_released_lane_may_be_taken_at_once(self, store: Any) -> None:
        _put(store, "1", "2")
        _take(store)
        assert store.lanes.release(_LANE, token="a") == Due(_LANE, "events")
        taken = _take(store, "b")
        assert _ids_of(taken) == ["1", "2"]
        assert not taken.is_suspect

    def test_who_never_came_back_makes_the_first_item_suspect(self, store: Any, clock: Any) -> None:
        _put(store, "1", "2")
        _take(store, "a", lease=30)
        clock.forward(31)
        assert _take(store, "b").is_suspect
        assert store.lanes.started(_LANE, token="b") == 1
        clock.forward(31)
        assert _take(store, "c").is_suspect
        assert store.lanes.started(_LANE, token="c") == 2
        # Once it is done, or its failure was survived, nothing is
        _finish(store, "1", token="c")
        assert store.lanes.started(_LANE, token="c") == 1
        store.lanes.release(_LANE, token="c", note="failed")
        assert not _take(store, "d").is_suspect

    def test_what_is_finished_is_gone_and_the_rest_still_held(self, store: Any) -> None:
        _put(store, "1", "2", "3")
        _take(store)
        finished = _finish(store, "1", "2")
        assert (finished.outcome, finished.left, list(finished.due)) == (Outcome.DONE, 1, [])
        assert _take(store, "b") is None
        assert _finish(store, "3").left == 0
        assert _take(store, "b") is None
        assert _put(store, "4") == [_LANE]
        assert _ids_of(_take(store, "b")) == ["4"]

    def test_finishing_tells_what_was_put_meanwhile(self, store: Any) -> None:
        _put(store, "1")
        _take(store)
        assert _put(store, "2") == []  # the holder will see it
        assert _finish(store, "1").left == 1
        assert _ids_of(_take(store)) == ["2"]

    def test_finishing_twice_is_harmless(self, store: Any) -> None:
        _put(store, "1", "2")
        _take(store)
        _finish(store, "1")
        assert _finish(store, "1").left == 1
        _finish(store, "2")
        assert _finish(store, "2").outcome is Outcome.LOST

    def test_with_what_is_finished_the_next_lane_is_taken(self, store: Any) -> None:
        _put(store, "1")
        _put(store, "2", "3", "4", lane=_OTHER)
        _take(store)
        finished, [taken] = store.lanes.finish_and_take(
            Move(_LANE, ["1"], {_AFTER: _items("1")}), [_OTHER], token="a", lease=30.0, limit=2
        )
        assert (finished.outcome, finished.left) == (Outcome.DONE, 0)
        assert list(finished.due) == [Due(_AFTER, "events")]
        assert (taken.lane, _ids_of(taken), taken.note, taken.is_suspect) == (_OTHER, ["2", "3"], "", False)
        assert _take(store, "b", lane=_OTHER) is None
        assert _finish(store, "2", "3", "4", lane=_OTHER).outcome is Outcome.DONE

    def test_the_next_lane_is_taken_by_the_same_rules_whatever_becomes_of_the_first(
        self, store: Any, clock: Any
    ) -> None:
        _put(store, "1")
        _put(store, "2", lane=_OTHER)
        _take(store, "a", lease=30)
        clock.forward(31)
        _take(store, "b")
        # The first lane was lost: it keeps its item, and the next is held all the same
        finished, [taken] = store.lanes.finish_and_take(
            Move(_LANE, ["1"]), [_OTHER], token="a", lease=30.0, limit=9
        )
        assert (finished.outcome, taken.lane) == (Outcome.LOST, _OTHER)
        assert _ids_of(_take(store, "b")) == ["1"]
        # A lane that somebody holds, that is empty, or whose time has not come, is not taken
        finished, none = store.lanes.finish_and_take(
            Move(_LANE, ["1"]), [_OTHER, _AFTER], token="b", lease=30.0, limit=9
        )
        assert (finished.outcome, list(none)) == (Outcome.DONE, [])
        store.lanes.release(_OTHER, token="a", after=60.0)
        _put(store, "3")
        _take(store, "b")
        _, none = store.lanes.finish_and_take(Move(_LANE, ["3"]), [_OTHER], token="b", lease=30.0, limit=9)
        assert list(none) == []

    def test_to_finish_and_take_twice_is_harmless(self, store: Any) -> None:
        _put(store, "1")
        _put(store, "2", lane=_OTHER)
        _take(store)
        move = Move(_LANE, ["1"])
        store.lanes.finish_and_take(move, [_OTHER], token="a", lease=30.0, limit=9)
        finished, [taken] = store.lanes.finish_and_take(move, [_OTHER], token="a", lease=30.0, limit=9)
        assert finished.outcome is Outcome.LOST
        assert (_ids_of(taken), taken.is_suspect) == (["2"], False)

    def test_what_follows_is_put_in_the_same_step(self, store: Any) -> None:
        _put(store, "1", "2")
        _take(store)
        finished = _finish(store, "1", "2", into={_AFTER: _items("1", "2"), _OTHER: _items("1")})
        assert sorted(finished.due) == [Due(_AFTER, "events"), Due(_OTHER, "events")]
        assert _ids_of(_take(store, "b", lane=_AFTER)) == ["1", "2"]

    def test_who_has_lost_the_lane_puts_nothing(self, store: Any, clock: Any) -> None:
        _put(store, "1")
        _take(store, "a", lease=30)
        clock.forward(31)
        _take(store, "b")
        assert _finish(store, "1", token="a", into={_AFTER: _items("1")}).outcome is Outcome.LOST
        assert _take(store, lane=_AFTER) is None

    def test_a_lane_waits_for_its_time_with_all_that_is_in_it(self, store: Any, clock: Any) -> None:
        _put(store, "1")
        _take(store)
        assert store.lanes.release(_LANE, token="a", after=60, note="1 failed") == Due(_LANE, "events")
        assert _take(store, "b") is None
        assert _put(store, "2") == []
        clock.forward(59)
        assert _due(store, unheard=True) == []
        clock.forward(1)
        taken = _take(store, "b")
        assert taken.note == "1 failed"
        assert _ids_of(taken) == ["1", "2"]
        # a note stays until there is another, or the item is finished
        store.lanes.release(_LANE, token="b")
        assert _take(store, "b").note == "1 failed"
        _finish(store, "1", token="b")
        store.lanes.release(_LANE, token="b")
        assert _take(store, "b").note == ""

    def test_a_lane_that_was_rung_is_not_rung_at_once_again(self, store: Any) -> None:
        assert _put(store, "1") == [_LANE]
        assert _put(store, "2") == []
        assert _due(store) == []

    def test_lanes_that_nobody_has_taken_are_due_less_and_less_often(self, store: Any, clock: Any) -> None:
        _put(store, "1")
        again = [min(UNHEARD_AGAIN_SECONDS * 2**number, LONGEST_UNHEARD_SECONDS) for number in range(7)]
        assert again[-1] == LONGEST_UNHEARD_SECONDS
        for pause in (UNHEARD_SECONDS, *again):
            clock.forward(pause - 1)
            assert _due(store) == []
            clock.forward(1)
            assert _due(store) == [_LANE]
        # Who starts anew rings them all the same
        clock.forward(UNHEARD_SECONDS)
        assert _due(store) == []
        assert _due(store, unheard=True) == [_LANE]
        # Once somebody has come, it begins anew
        _take(store)
        store.lanes.release(_LANE, token="a")
        clock.forward(UNHEARD_SECONDS)
        assert _due(store) == [_LANE]

    def test_a_lane_whose_bell_could_not_be_rung_is_due_at_once(self, store: Any, clock: Any) -> None:
        _put(store, "1")
        for _ in range(5):
            store.lanes.missed([_LANE, _OTHER])
            assert _due(store) == [_LANE]
            assert _due(store) == []
        clock.forward(UNHEARD_AGAIN_SECONDS)
        assert _due(store) == [_LANE]

    def test_a_missed_bell_is_due_no_sooner_than_the_attempt(self, store: Any, clock: Any) -> None:
        _put(store, "1")
        _take(store)
        store.lanes.release(_LANE, token="a", after=60)
        store.lanes.missed([_LANE])
        assert _due(store) == []
        clock.forward(60)
        assert _due(store) == [_LANE]

    def test_a_lane_is_due_when_its_holder_never_came_back(self, store: Any, clock: Any) -> None:
        _put(store, "1")
        _take(store, lease=30)
        store.lanes.missed([_LANE])  # by somebody who rang it before
        clock.forward(29)
        assert _due(store) == []
        clock.forward(1)
        assert _due(store) == [_LANE]

    def test_each_due_lane_is_given_out_to_one(self, store: Any, clock: Any) -> None:
        store.lanes.put({Lane(_HERE, "feed", str(number)): _items("1") for number in range(5)})
        store.lanes.put({Lane("another", "feed", "1"): _items("1")})
        clock.forward(10)
        first = store.lanes.due(_HERE, limit=3)
        second = store.lanes.due(_HERE, limit=3)
        assert (len(first), len(second)) == (3, 2)
        assert len({*first, *second}) == 5
        assert [each.lane.destination for each in store.lanes.due("another")] == ["another"]

    def test_an_empty_lane_is_not_due(self, store: Any, clock: Any) -> None:
        _put(store, "1")
        _take(store)
        _finish(store, "1")
        clock.forward(3_600)
        assert _due(store, unheard=True) == []

    def test_a_clock_set_back_leaves_nothing_stuck(self, store: Any, clock: Any) -> None:
        _put(store, "1")
        _take(store, "a", lease=30)
        _put(store, "2", lane=_OTHER)
        _take(store, "a", lane=_OTHER)
        store.lanes.release(_OTHER, token="a", after=60)
        clock.forward(-3_600)
        assert _due(store) == sorted([_LANE, _OTHER])
        assert _take(store, "b")
        assert _take(store, "b", lane=_OTHER)

    def test_a_store_keeps_its_incarnation(self, store: Any) -> None:
        assert store.lanes.incarnation() == store.lanes.incarnation()

    def test_an_item_is_found_by_the_beginning_of_its_id_with_what_stands_before_it(self, store: Any) -> None:
        _put(store, "a1", "b1", "a2")
        _put(store, "a1", lane=_OTHER)
        _put(store, "a1", lane=Lane("elsewhere*", "t", "k"))

        found = store.lanes.find(_HERE, "a")

        assert [(each.lane, each.item.id, each.ahead) for each in found] == [
            (_OTHER, "a1", 0), (_LANE, "a1", 0), (_LANE, "a2", 2),
        ]  # fmt: skip
        assert found[0].item.text == _items("a1")[0].text
        assert [each.lane.destination for each in store.lanes.find("elsewhere*", "a1")] == ["elsewhere*"]
        [one] = store.lanes.find(_HERE, "a", limit=1)
        assert one in found
        assert list(store.lanes.find(_HERE, "c")) == []

    def test_lanes_are_shown_with_what_stands_at_their_head(self, store: Any) -> None:
        _put(store, "a1", "a2", "a3")
        _put(store, "b1", lane=_OTHER)
        _put(store, "c1", lane=Lane("elsewhere", "t", "k"))
        _take(store, "me", lane=_OTHER)
        _take(store, "you")
        store.lanes.release(_LANE, token="you", after=60.0, note="failed 2")

        found = {each.lane: each for each in store.lanes.heads(_HERE)}

        assert found.keys() == {_LANE, _OTHER}
        first, second = found[_LANE], found[_OTHER]
        assert (first.item, first.size, first.is_held, first.note) == (_items("a1")[0], 3, False, "failed 2")
        assert first.not_before > second.not_before == 0.0
        assert (second.item.id, second.size, second.is_held, second.note) == ("b1", 1, True, "")
        assert len(store.lanes.heads(_HERE, limit=1)) == 1
        assert list(store.lanes.heads("nowhere")) == []

    def test_lanes_that_have_items_are_counted(self, store: Any) -> None:
        assert store.lanes.count(_HERE) == 0
        _put(store, "1", "2")
        _put(store, "3", lane=_OTHER)
        _put(store, "9", lane=Lane("elsewhere", "t", "k"))
        assert store.lanes.count(_HERE) == 2

        _take(store)
        _finish(store, "1", "2")

        assert store.lanes.count(_HERE) == 1
        assert [each.item.id for each in store.lanes.heads(_HERE)] == ["3"]
