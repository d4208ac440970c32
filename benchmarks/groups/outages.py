"""The broker is away: what a flush takes, what the event loop notices, what the memory does."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rows import Row
from benchmarks.words import Comparison, Goal, Kind, Scale, Services, Variant

_BUFFER = 500
"""Events that may wait for the broker in the process whose memory is watched."""

_BYTES_PER_EVENT = 4_096

_RATE = 1_000.0
"""Events per second there."""


class FlushInOutage(Row):
    number = 14
    name = "outage"
    group = "outages"
    what = "a flush of 10 events while the broker refuses connections, or accepts them and never answers"
    peer = "one `send()`, one `delay()`"

    def rounds(self, scale: Scale) -> int:
        return 2 if scale.quick else 5

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        patience = 6.0 if scale.quick else 60.0
        return [
            *(
                Variant(
                    name=f"{engine} {fault}",
                    target="outage:our_flush",
                    options={"engine": engine, "fault": fault},
                    operations=1,
                )
                for engine in ("dramatiq", "celery")
                for fault in ("refused", "silent")
            ),
            *(
                Variant(
                    name=f"{engine} itself",
                    target="outage:naive_send",
                    options={"engine": engine, "fault": "silent", "patience": patience},
                    operations=1,
                    rounds=1,
                )
                for engine in ("dramatiq", "celery")
            ),
        ]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        engines = {"dramatiq": "DramatiqHandler", "celery": "CeleryHandler"}
        bounds = {"refused": Goal(at_most=50), "silent": Goal(at_most=1_000 + _TIMER_MS)}
        return [
            *(
                Comparison(
                    what=f"{title}, {fault}", ours=f"{engine} {fault}", kind=Kind.MILLISECONDS, goal=goal
                )
                for fault, goal in bounds.items()
                for engine, title in engines.items()
            ),
            *(
                Comparison(
                    what=f"{title}, silent: the loop's greatest lag",
                    ours=f"{engine} silent",
                    figure="worst_lag",
                    kind=Kind.MILLISECONDS,
                    goal=Goal(at_most=20),
                )
                for engine, title in engines.items()
            ),
            Comparison(what="`send()`, silent", ours="dramatiq itself", kind=Kind.SECONDS),
            Comparison(
                what="`delay()`, silent, after which we stopped to wait",
                ours="celery itself",
                kind=Kind.SECONDS,
            ),
        ]


_TIMER_MS = 20
"""What a timer of the event loop may be late: the deadline is exact, the machine is not."""


class MemoryInOutage(Row):
    number = 15
    name = "memory"
    group = "outages"
    what = f"a web process at {_RATE:,.0f} events/s while the broker never answers, with room for {_BUFFER}"
    peer = ""

    def rounds(self, scale: Scale) -> int:
        return 1

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        return (
            Variant(
                name="ours",
                target="web:in_outage",
                options={
                    "kind": "dramatiq",
                    "ours": True,
                    "events": 10,
                    "fault": "silent",
                    "rate": _RATE,
                    # As many events as 200 a second are in ten minutes, once those of the first two are over.
                    "seconds": 10.0 if scale.quick else 145.0,
                    "settle": 4.0 if scale.quick else 25.0,
                    "settings": {"max_pending_events": _BUFFER},
                },
                operations=1,
            ),
        )

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        mebibytes = _BUFFER * _BYTES_PER_EVENT / 2**20
        return (
            Comparison(
                what="events that wait, at most",
                ours="ours",
                figure="pending",
                kind=Kind.COUNT,
                goal=Goal(at_most=_BUFFER),
            ),
            Comparison(
                what="events neither delivered nor reported lost",
                ours="ours",
                figure="unaccounted",
                kind=Kind.COUNT,
                goal=Goal(at_most=0),
            ),
            Comparison(
                what="growth of the memory once the buffer is full",
                ours="ours",
                figure="growth",
                kind=Kind.MEBIBYTES,
                goal=Goal(at_most=mebibytes),
            ),
            Comparison(what="growth while it fills", ours="ours", figure="filling", kind=Kind.MEBIBYTES),
        )


ROWS: tuple[Row, ...] = (FlushInOutage(), MemoryInOutage())
