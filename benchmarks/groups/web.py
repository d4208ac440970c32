"""A FastAPI application under uvicorn, whose every request dispatches ten events.

The naive way, a handler of fastapi-events 0.12.2 that calls `send()` or `delay()` for each event, is what
one writes first. Delivered means: the broker has taken the events, and the clock runs until the last of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.rows import Row
from benchmarks.words import OURS, PREDECESSOR, VALKEY, Comparison, Goal, Kind, Scale, Services, Variant

_EVENTS = 10
_LAG_RATE = 40.0
"""Requests per second while the lag of the loop is measured: what the slowest variant can still bear."""

_FIT = 1_000
"""Requests whose events all find room in a handler's buffer: the clients wait for responses alone, which go
out sooner than any broker takes the events."""


def _variant(name: str, url: str, scale: Scale, *, requests: int, rate: float = _LAG_RATE) -> Variant:
    """A variant by its name: `ours dramatiq`, `naive celery`, `no events`."""
    who, _, kind = name.partition(" ")
    options: dict[str, Any] = {
        "url": url,
        "kind": kind,
        "ours": who == "ours",
        "events": 0 if who == "no" else _EVENTS,
        "lag_rate": rate,
        "lag_seconds": 1.0 if scale.quick else 3.0,
    }
    return Variant(
        name=name,
        target="web:under_load",
        environment=PREDECESSOR if who == "naive" else OURS,
        options=options,
        operations=requests // 4 if scale.quick else requests,
    )


class Web(Row):
    group = "web"
    needs = (VALKEY, PREDECESSOR)

    def rounds(self, scale: Scale) -> int:
        return 2 if scale.quick else 4


class WebAtOneMillisecond(Web):
    number = 10
    name = "web-1ms"
    what = f"a web process, {_EVENTS} events a request, a round trip of 1 ms to the broker"
    peer = "no events; a naive handler"

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        url = services.at_1_ms
        return (
            _variant("no events", url, scale, requests=2_000),
            _variant("ours dramatiq", url, scale, requests=_FIT),
            _variant("ours celery", url, scale, requests=_FIT),
            _variant("naive dramatiq", url, scale, requests=150),
            _variant("naive celery", url, scale, requests=100),
        )

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        lag, twice = Kind.COST, Goal(at_most=2)
        return (
            Comparison(
                what="requests delivered, Dramatiq",
                ours="ours dramatiq",
                peer="naive dramatiq",
                goal=Goal(at_least=8, stretch=15),
            ),
            Comparison(
                what="requests delivered, Celery",
                ours="ours celery",
                peer="naive celery",
                goal=Goal(at_least=4, stretch=15),
            ),
            Comparison(
                what=f"loop lag p99 at {_LAG_RATE:.0f} requests/s, Dramatiq, against no events",
                ours="ours dramatiq",
                peer="no events",
                figure="lag",
                kind=lag,
                goal=twice,
            ),
            Comparison(
                what="the same, Celery",
                ours="ours celery",
                peer="no events",
                figure="lag",
                kind=lag,
                goal=twice,
            ),
            Comparison(
                what="naive Dramatiq, so",
                ours="naive dramatiq",
                peer="no events",
                figure="lag",
                kind=lag,
            ),
        )


class WebAtFiveMilliseconds(Web):
    number = 10
    name = "web-5ms"
    what = f"a web process, {_EVENTS} events a request, a round trip of 5 ms to the broker"
    peer = "no events; a naive handler"

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        url, rate = services.at_5_ms, 12.0
        return (
            _variant("no events", url, scale, requests=2_000, rate=rate),
            _variant("ours dramatiq", url, scale, requests=_FIT, rate=rate),
            _variant("naive dramatiq", url, scale, requests=60, rate=rate),
        )

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return (
            Comparison(what="requests delivered, Dramatiq", ours="ours dramatiq", peer="naive dramatiq"),
            Comparison(
                what="loop lag p99 at 12 requests/s, Dramatiq, against no events",
                ours="ours dramatiq",
                peer="no events",
                figure="lag",
                kind=Kind.COST,
            ),
        )


class WebOnLoopback(Web):
    number = 11
    name = "web-loopback"
    what = f"a web process, {_EVENTS} events a request, the broker on the same machine"
    peer = "a naive handler"

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        url = services.near
        return (
            _variant("no events", url, scale, requests=2_000),
            _variant("ours dramatiq", url, scale, requests=_FIT),
            _variant("naive dramatiq", url, scale, requests=600),
            _variant("ours celery", url, scale, requests=_FIT),
            _variant("naive celery", url, scale, requests=200),
        )

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return (
            Comparison(
                what="requests delivered, Dramatiq",
                ours="ours dramatiq",
                peer="naive dramatiq",
                goal=Goal(at_least=3, stretch=6),
            ),
            Comparison(what="requests delivered, Celery", ours="ours celery", peer="naive celery"),
            Comparison(
                what="a request, against one without events",
                ours="ours dramatiq",
                peer="no events",
                kind=Kind.COST,
            ),
        )


ROWS: tuple[Row, ...] = (WebAtOneMillisecond(), WebAtFiveMilliseconds(), WebOnLoopback())
