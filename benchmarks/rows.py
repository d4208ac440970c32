"""A row of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.measuring import Figures, Reading, read
from benchmarks.words import Comparison, Scale, Services, Variant


class Row:
    """One row of the table.

    The number orders the table, and the name is what one types to run it alone.
    """

    number: int
    name: str
    group: str
    what: str
    peer: str
    needs: tuple[str, ...] = ()
    """Servers and environments without which it cannot run."""
    is_long: bool = False
    """Whether a quick run leaves it out that does not name it."""

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        """The variants that it runs side by side."""
        raise NotImplementedError

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        """What is read from their figures."""
        raise NotImplementedError

    def rounds(self, scale: Scale) -> int:
        """How many rounds; fewer for those that take long."""
        return scale.rounds

    def readings(
        self, series: Mapping[str, Sequence[Figures]], scale: Scale
    ) -> list[tuple[Comparison, Reading]]:
        """Each comparison with what it came to."""
        return [(each, read(each, series)) for each in self.comparisons(scale)]

    def curves(self, series: Mapping[str, Sequence[Figures]]) -> dict[str, list[tuple[float, float]]]:
        """Lines to plot, each as points; most rows have none."""
        return {}
