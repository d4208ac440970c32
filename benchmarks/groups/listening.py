"""Finding who listens to an event, and calling a function that does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.rows import Row
from benchmarks.words import OURS, PREDECESSOR, Comparison, Goal, Scale, Services, Variant

_PATTERNS = 10_000


class Matching(Row):
    number = 4
    name = "matching"
    group = "listening"
    what = f"finding who listens, among {_PATTERNS:,} patterns"
    peer = "fastapi-events 0.12.2"
    needs = (PREDECESSOR,)

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        kinds: dict[str, dict[str, Any]] = {
            "fresh": {"fresh": True},
            "repeated": {"fresh": False},
            "irregular": {"fresh": True, "irregular": True},
        }
        return [
            Variant(
                name=f"{package} {kind}",
                target="listening:matching",
                environment=environment,
                options={"package": package, "patterns": _PATTERNS, **options},
            )
            for kind, options in kinds.items()
            for package, environment in (("ours", OURS), ("predecessor", PREDECESSOR))
        ]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        goals = {
            "fresh": ("a fresh name, mixed patterns", Goal(at_least=500, stretch=1_000)),
            "repeated": ("a repeated name", Goal(at_least=20_000)),
            "irregular": ("a fresh name, irregular patterns", Goal(at_least=2)),
        }
        return [
            Comparison(what=what, ours=f"ours {kind}", peer=f"predecessor {kind}", goal=goal)
            for kind, (what, goal) in goals.items()
        ]


class Calling(Row):
    number = 5
    name = "calling"
    group = "listening"
    what = "calling one more local subscription: async, without dependencies"
    peer = "fastapi-events 0.12.2"
    needs = (PREDECESSOR,)

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        return (
            Variant(name="ours", target="listening:calling"),
            Variant(name="fastapi-events", target="listening:calling", environment=PREDECESSOR),
        )

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return (
            Comparison(
                what="a subscription", ours="ours", peer="fastapi-events", goal=Goal(at_least=20, stretch=50)
            ),
        )


ROWS: tuple[Row, ...] = (Matching(), Calling())
