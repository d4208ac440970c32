"""A clock that stands still until it is told otherwise."""

from __future__ import annotations


class StoppedClock:
    """Tells the same time until it is set forward; a store takes it as its `clock`."""

    def __init__(self) -> None:
        self.now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
