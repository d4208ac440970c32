"""The words of a benchmark: variants, what is compared of them, and the goal of each comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

OURS = "ours"
"""The environment that runs the benchmarks; plain Dramatiq, Celery and Starlette are in it, too."""

PREDECESSOR = "predecessor"
PEERS = "peers"

VALKEY = "valkey"
RABBITMQ = "rabbitmq"
POSTGRES = "postgres"


class Kind(Enum):
    """How a comparison is read."""

    FASTER = "× as fast"
    COST = "× the cost"
    SECONDS = "s"
    MILLISECONDS = "ms"
    MEBIBYTES = "MiB"
    COUNT = "events"
    PERCENT = "% of a core"
    PER_SECOND = "commands/s"

    @property
    def is_ratio(self) -> bool:
        """Whether ours is compared with a peer's, rather than judged by itself."""
        return self in (Kind.FASTER, Kind.COST)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure has to be; one bound is given.

    Parameters:
        stretch: The bound that would be better still.
    """

    at_least: float | None = None
    at_most: float | None = None
    stretch: float | None = None

    def reached(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return self._within(value, self.at_least, self.at_most)

    def stretched(self, value: float) -> bool:
        """Whether a value is within the better bound."""
        if self.stretch is None:
            return False
        upwards = self.at_least is not None
        return self._within(value, self.stretch if upwards else None, None if upwards else self.stretch)

    @property
    def bound(self) -> float:
        """The bound, whichever side it is on."""
        return self.at_least if self.at_least is not None else self.at_most or 0.0

    def __str__(self) -> str:
        return f"{'≥' if self.at_least is not None else '≤'} {float(f'{self.bound:.3g}'):,g}"

    @staticmethod
    def _within(value: float, low: float | None, high: float | None) -> bool:
        return (low is None or value >= low) and (high is None or value <= high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One way of doing the work of a row, in a process of its own.

    Parameters:
        target: `module:function` below `benchmarks/variants`, which opens the variant.
        environment: Which libraries it has.
        options: Passed to the function.
        operations: How many a round has; found out by trying if not given.
        rounds: How many rounds it takes part in; all of them if not given.
    """

    name: str
    target: str
    environment: str = OURS
    options: Mapping[str, Any] = field(default_factory=dict)
    operations: int | None = None
    rounds: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A figure of ours beside a peer's.

    Parameters:
        what: What it is about, within the row.
        ours: The name of our variant.
        peer: The name of the other; None where the figure is judged by itself.
        figure: Which of the figures that the variants answer with; less is better.
        kind: How it is read.
        goal: None where a row shows it for information.
    """

    what: str
    ours: str
    peer: str | None = None
    figure: str = "seconds"
    kind: Kind = Kind.FASTER
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """What a row's variants may connect to; empty where there is no such server here.

    Parameters:
        near: A Valkey on the loopback interface.
        at_1_ms: The same, behind a round trip of 1 ms.
        at_5_ms: And of 5 ms.
    """

    near: str = ""
    at_1_ms: str = ""
    at_5_ms: str = ""
    rabbitmq: str = ""
    postgres: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """How thorough a run is.

    Parameters:
        rounds: How often the variants take turns.
        round_seconds: How long one variant's turn is.
    """

    rounds: int
    round_seconds: float
    quick: bool
