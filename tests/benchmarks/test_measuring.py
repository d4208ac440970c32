"""Rounds, ratios and goals: plain arithmetic, which nobody should have to believe."""

from __future__ import annotations

import pytest

from benchmarks.groups.growth import growth
from benchmarks.measuring import Figures, operations_for, read, take_turns
from benchmarks.words import Comparison, Goal, Kind, Variant


class Scripted:
    """A variant whose operations take the time that it is told."""

    def __init__(self, name: str, *seconds: float, rounds: int | None = None, turns: list[str] | None = None):
        self.variant = Variant(name=name, target="", operations=10, rounds=rounds)
        self._seconds = iter(seconds)
        self._turns = turns if turns is not None else []

    def measure(self, operations: int) -> Figures:
        self._turns.append(self.variant.name)
        return {"seconds": next(self._seconds), "took": 1.0}


def test_variants_take_turns_in_alternating_order() -> None:
    turns: list[str] = []
    one, other = Scripted("one", 1, 2, 3, turns=turns), Scripted("other", 4, 5, 6, turns=turns)

    series = take_turns([one, other], rounds=3, seconds=1.0)

    assert turns == ["one", "other", "other", "one", "one", "other"]
    assert [figures["seconds"] for figures in series["one"]] == [1, 2, 3]


def test_a_slow_peer_takes_part_in_fewer_rounds() -> None:
    ours, slow = Scripted("ours", 1, 1, 1), Scripted("slow", 7, rounds=1)

    series = take_turns([ours, slow], rounds=3, seconds=1.0)

    assert len(series["slow"]) == 1
    assert read(Comparison(what="", ours="ours", peer="slow"), series).ratios == (7,)


def test_ratios_are_taken_within_a_round() -> None:
    # Given a machine that was half as fast in the second round
    series = {"ours": [{"seconds": 1.0}, {"seconds": 2.0}], "peer": [{"seconds": 10.0}, {"seconds": 20.0}]}

    faster = read(Comparison(what="", ours="ours", peer="peer"), series)
    dearer = read(Comparison(what="", ours="ours", peer="peer", kind=Kind.COST), series)

    # Then nobody can tell from the ratios
    assert faster.ratios == (10.0, 10.0)
    assert dearer.ratios == (0.1, 0.1)


def test_a_figure_without_a_peer_is_shown_in_its_unit() -> None:
    series = {"ours": [{"worst_lag": 0.004}, {"worst_lag": 0.002}, {"worst_lag": 0.003}]}

    lag = read(Comparison(what="", ours="ours", figure="worst_lag", kind=Kind.MILLISECONDS), series)

    assert lag.median == pytest.approx(3.0)
    assert lag.peer is None


def test_a_round_is_as_long_as_asked_for() -> None:
    class Steady:
        variant = Variant(name="steady", target="")

        def measure(self, operations: int) -> Figures:
            return {"seconds": 0.001, "took": operations * 0.001}

    assert operations_for(Steady(), 0.5) == 500


@pytest.mark.parametrize(
    ("goal", "reached", "missed", "stretched"),
    [
        (Goal(at_least=20, stretch=30), 20.0, 19.9, 30.0),
        (Goal(at_most=1.15, stretch=1.06), 1.15, 1.16, 1.06),
    ],
)
def test_a_goal_is_reached_at_its_bound(goal: Goal, reached: float, missed: float, stretched: float) -> None:
    assert goal.reached(reached)
    assert not goal.reached(missed)
    assert goal.stretched(stretched)
    assert not goal.stretched(reached)


def test_growth_is_what_gets_dearer_on_the_way_up() -> None:
    assert growth([8.0, 2.0, 3.0]) == 1.5
    assert growth([4.0, 2.0, 1.0]) == 1.0
