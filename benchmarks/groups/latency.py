"""How soon a function begins after a request: with nothing else going on, and under load.

Workers are processes under their engine's own command, with eight threads. The peer is what one writes
without us: `send()` or `delay()` after the response, and a plain actor or task that the message reaches in
one hop. Ours takes two: the fan-out, and the function.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmarks.rows import Row
from benchmarks.words import RABBITMQ, VALKEY, Comparison, Goal, Kind, Scale, Services, Variant

_RATE = 200.0
_MEDIAN, _SLOWEST = Goal(at_most=5, stretch=2), Goal(at_most=25)


class Latency(Row):
    group = "latency"
    peer = "a plain `send()` or `delay()`"
    _engines: tuple[str, ...] = ("dramatiq", "celery")
    _target = "latency:idle"

    def rounds(self, scale: Scale) -> int:
        return 2 if scale.quick else 3

    def _url(self, services: Services, number: int) -> str:
        return services.near.replace("/0", f"/{number}")

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        return [
            Variant(
                name=engine if ours else f"{engine}, plain",
                target=self._target,
                options={
                    "url": self._url(services, 2 * number + ours),
                    "engine": engine,
                    "ours": ours,
                    "queue": f"bench-{self.name}-{engine}-{'ours' if ours else 'plain'}",
                    **self._options(scale, ours=ours),
                },
                operations=1,
            )
            for number, engine in enumerate(self._engines)
            for ours in (True, False)
        ]

    def _options(self, scale: Scale, *, ours: bool) -> dict[str, float]:
        raise NotImplementedError


class Idle(Latency):
    number = 17
    name = "idle"
    what = "from the end of a response to the function's first line, nothing else going on, on Valkey"
    needs = (VALKEY,)
    _least_gain: Goal | None = Goal(at_least=50)

    def rounds(self, scale: Scale) -> int:
        return 1 if scale.quick else 3

    def _options(self, scale: Scale, *, ours: bool) -> dict[str, float]:
        events = (20 if ours else 12) // (5 if scale.quick else 1)
        return {"events": events, "rest": (2.0 if scale.quick else 5.0) if ours else 0.0}

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        milliseconds = Kind.MILLISECONDS
        found = []
        for engine in self._engines:
            title, plain = engine.title(), f"{engine}, plain"
            found += [
                Comparison(what=f"{title}, median", ours=engine, kind=milliseconds, goal=_MEDIAN),
                Comparison(
                    what=f"{title}, the slowest of a round", ours=engine, figure="slowest", kind=milliseconds,
                    goal=_SLOWEST,
                ),
                Comparison(
                    what=f"{title}, median, against the plain way", ours=engine, peer=plain,
                    goal=self._least_gain if engine == "dramatiq" else None,
                ),
                Comparison(
                    what=f"{title}, an event with a delay: late by", ours=engine, figure="delayed",
                    kind=milliseconds,
                ),
                Comparison(
                    what="the plain way with a delay, so", ours=plain, figure="delayed", kind=milliseconds
                ),
                Comparison(
                    what=f"an idle worker of {title}", ours=engine, figure="processor", kind=Kind.PERCENT,
                    goal=Goal(at_most=1),
                ),
            ]  # fmt: skip
        return found


class IdleOnValkey(Idle):
    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return [
            *super().comparisons(scale),
            Comparison(
                what="an idle worker of Dramatiq",
                ours="dramatiq",
                figure="commands",
                kind=Kind.PER_SECOND,
                goal=Goal(at_most=5),
            ),
        ]


class IdleOnRabbitmq(Idle):
    name = "idle-rabbitmq"
    what = "the same on RabbitMQ"
    needs = (RABBITMQ,)
    _least_gain = None

    def _url(self, services: Services, number: int) -> str:
        return services.rabbitmq


class Herd(Idle):
    name = "idle-herd"
    what = "the same on Valkey, with many idle worker processes of Dramatiq, of which each event wakes all"
    peer = ""
    is_long = True
    _engines = ("dramatiq",)

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        [one, *_] = super().variants(services, scale)
        return [
            Variant(
                name="herd",
                target=one.target,
                options={**one.options, "processes": 6 if scale.quick else 30},
                operations=1,
            )
        ]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        count = "six" if scale.quick else "thirty"
        return (
            Comparison(what=f"{count} processes, median", ours="herd", kind=Kind.MILLISECONDS, goal=_MEDIAN),
            Comparison(
                what="the slowest of a round", ours="herd", figure="slowest", kind=Kind.MILLISECONDS,
                goal=_SLOWEST,
            ),
            Comparison(what="all of them, idle", ours="herd", figure="processor", kind=Kind.PERCENT),
            Comparison(what="all of them, idle", ours="herd", figure="commands", kind=Kind.PER_SECOND),
        )  # fmt: skip


class Loaded(Latency):
    number = 18
    name = "loaded"
    what = f"from a request to the function's first line, at {_RATE:.0f} requests/s of one event, on Valkey"
    needs = (VALKEY,)
    _target = "latency:under_load"

    def _options(self, scale: Scale, *, ours: bool) -> dict[str, float]:
        return {"rate": _RATE, "events": 300 if scale.quick else 1_000}

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        found = super().variants(services, scale)
        plain = next(each for each in found if each.name == "celery, plain")
        options = {
            "url": self._url(services, 2 * len(self._engines)),
            "queue": "bench-loaded-hops",
            "hops": 2,
        }
        hops = dataclasses.replace(plain, name="celery, two hops", options={**plain.options, **options})
        return [*found, hops]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        goal = Goal(at_most=1.5, stretch=1.2)
        measured = (("seconds", "median"), ("p99", "99th percentile"))
        return [
            *(
                Comparison(
                    what=f"{engine.title()}, {what}",
                    ours=engine,
                    peer=f"{engine}, plain",
                    figure=figure,
                    kind=Kind.COST,
                    goal=goal,
                )
                for engine in self._engines
                for figure, what in measured
            ),
            *(
                Comparison(
                    what=f"Celery, two hops by hand, each a `delay()`, {what}, so",
                    ours="celery, two hops",
                    peer="celery, plain",
                    figure=figure,
                    kind=Kind.COST,
                )
                for figure, what in measured
            ),
        ]


ROWS: tuple[Row, ...] = (IdleOnValkey(), IdleOnRabbitmq(), Herd(), Loaded())
