"""How long a program takes to import what every application has."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rows import Row
from benchmarks.words import OURS, PREDECESSOR, Comparison, Goal, Kind, Scale, Services, Variant

_CORE = "fastapi_events.dispatcher, fastapi_events.middleware, fastapi_events.handlers.local"


def _variant(name: str, names: str, environment: str = OURS) -> Variant:
    return Variant(
        name=name,
        target="importing:modules",
        environment=environment,
        options={"names": names},
        operations=1,
    )


class Importing(Row):
    number = 24
    name = "import"
    group = "importing"
    what = "importing dispatcher, middleware and local handlers, in an interpreter of its own"
    peer = "fastapi-events 0.12.2"
    needs = (PREDECESSOR,)

    def rounds(self, scale: Scale) -> int:
        return 5 if scale.quick else 15

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        return (
            _variant("ours", _CORE),
            _variant("0.12.2", _CORE, PREDECESSOR),
            _variant("after FastAPI", f"fastapi, {_CORE}"),
            _variant("FastAPI", "fastapi"),
        )

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        cost = Kind.COST
        return (
            Comparison(what="the core", ours="ours", peer="0.12.2", kind=cost, goal=Goal(at_most=1.0)),
            Comparison(
                what="FastAPI and the core, against FastAPI alone",
                ours="after FastAPI",
                peer="FastAPI",
                kind=cost,
            ),
        )


ROWS: tuple[Row, ...] = (Importing(),)
