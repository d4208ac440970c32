"""Measuring side by side: rounds in which the variants take turns, and ratios within each round.

A machine is never alone. What disturbs one round disturbs all variants in it, so that only ratios of figures
from the same round mean something; the median of these is what the table shows, with the least and the
greatest beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.words import Comparison, Kind, Variant

Figures = dict[str, float]
Series = dict[str, list[Figures]]
"""For each variant the figures of its rounds."""

_UNITS = {Kind.MILLISECONDS: 1e3, Kind.PERCENT: 1e2}


class Asked(Protocol):
    """A variant that is ready to be measured."""

    variant: Variant

    def measure(self, operations: int) -> Figures:
        """Run one round."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a comparison came to.

    Parameters:
        ratios: One a round; for kinds that are no ratio, the figure itself in its unit.
        ours: The median of our own figure; seconds, unless the figure is something else.
        peer: The same of the peer.
    """

    ratios: tuple[float, ...]
    ours: float
    peer: float | None

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)


def operations_for(asked: Asked, seconds: float) -> int:
    """How many operations make a round of about so many seconds."""
    if asked.variant.operations is not None:
        return asked.variant.operations
    operations = 1
    while True:
        taken = asked.measure(operations)["took"]
        if taken >= seconds / 4:
            return max(1, round(operations * seconds / taken))
        operations *= 4 if taken < seconds / 32 else 2


def take_turns(all_asked: Sequence[Asked], *, rounds: int, seconds: float) -> Series:
    """Measure variants round by round; every other round in the reverse order."""
    operations = {asked.variant.name: operations_for(asked, seconds) for asked in all_asked}
    series: Series = {asked.variant.name: [] for asked in all_asked}
    for number in range(rounds):
        for asked in all_asked if number % 2 == 0 else reversed(all_asked):
            variant = asked.variant
            if variant.rounds is None or number < variant.rounds:
                series[variant.name].append(asked.measure(operations[variant.name]))
    return series


def read(comparison: Comparison, series: Mapping[str, Sequence[Figures]]) -> Reading:
    """Compare round by round."""
    ours = [figures[comparison.figure] for figures in series[comparison.ours]]
    if comparison.peer is None:
        unit = _UNITS.get(comparison.kind, 1.0)
        return Reading(tuple(value * unit for value in ours), statistics.median(ours), None)
    peer = [figures[comparison.figure] for figures in series[comparison.peer]]
    pairs = list(zip(ours, peer, strict=False))  # a slow peer may have taken part in fewer rounds
    ratios = [theirs / own if comparison.kind is Kind.FASTER else own / theirs for own, theirs in pairs]
    return Reading(tuple(ratios), statistics.median(ours), statistics.median(peer))
