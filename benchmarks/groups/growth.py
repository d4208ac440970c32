"""Whether an event costs the same among many: subscriptions, events of a request, requests at once."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.measuring import Figures, Reading
from benchmarks.rows import Row
from benchmarks.words import VALKEY, Comparison, Goal, Kind, Scale, Services, Variant

_SUBSCRIPTIONS = (10, 100, 1_000, 10_000)
_EVENTS = (1, 10, 100, 1_000)
_AT_ONCE = (1, 10, 100, 500)

_FLAT = Goal(at_most=2, stretch=1.3)


class Growth(Row):
    number = 16
    name = "growth"
    group = "growth"
    what = "the cost of an event as numbers grow: the dearest against the cheapest of the smaller ones"
    peer = "itself"
    needs = (VALKEY,)

    _axes: Mapping[str, Sequence[int]] = {
        "subscriptions": _SUBSCRIPTIONS,
        "events per request": _EVENTS,
        "requests at once": _AT_ONCE,
    }

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        url = {"url": services.near}
        return [
            *(
                Variant(
                    name=f"subscriptions {count}", target="growth:subscriptions", options={"count": count}
                )
                for count in _SUBSCRIPTIONS
            ),
            *(
                Variant(
                    name=f"events per request {count}",
                    target="growth:requests",
                    options={**url, "events": count, "at_once": 1},
                )
                for count in _EVENTS
            ),
            *(
                Variant(
                    name=f"requests at once {count}",
                    target="growth:requests",
                    options={**url, "events": 10, "at_once": count},
                )
                for count in _AT_ONCE
            ),
        ]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return [
            Comparison(
                what=f"{axis}, {counts[0]:,} → {counts[-1]:,}",
                ours=f"{axis} {counts[-1]}",
                peer=f"{axis} {counts[0]}",
                kind=Kind.COST,
                goal=_FLAT,
            )
            for axis, counts in self._axes.items()
        ]

    def readings(
        self, series: Mapping[str, Sequence[Figures]], scale: Scale
    ) -> list[tuple[Comparison, Reading]]:
        found = []
        for comparison, (axis, counts) in zip(self.comparisons(scale), self._axes.items(), strict=True):
            costs = [[each["seconds"] for each in series[f"{axis} {count}"]] for count in counts]
            ratios = tuple(growth(of_a_round) for of_a_round in zip(*costs, strict=True))
            found.append(
                (comparison, Reading(ratios, statistics.median(costs[-1]), statistics.median(costs[0])))
            )
        return found

    def curves(self, series: Mapping[str, Sequence[Figures]]) -> dict[str, list[tuple[float, float]]]:
        return {
            axis: [
                (count, statistics.median(each["seconds"] for each in series[f"{axis} {count}"]) * 1e6)
                for count in counts
            ]
            for axis, counts in self._axes.items()
        }


def growth(costs: Sequence[float]) -> float:
    """How much dearer it gets on the way up: a later cost over an earlier one, at its greatest.

    >>> growth([8.0, 2.0, 3.0])
    1.5
    """
    return max(later / earlier for number, earlier in enumerate(costs) for later in costs[number:])


ROWS: tuple[Row, ...] = (Growth(),)
