"""From a flush to the broker, and from a worker's fan-out back to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.rows import Row
from benchmarks.words import PEERS, RABBITMQ, VALKEY, Comparison, Goal, Kind, Scale, Services, Variant

_FASTER = {10: Goal(at_least=6), 100: Goal(at_least=20, stretch=30)}
_NO_DEARER = Goal(at_most=1.1)


class Flush(Row):
    group = "publishing"
    needs: tuple[str, ...] = (VALKEY,)
    engine: str
    loop: str
    """Opens the engine's own way."""
    goals: Mapping[int, Goal]
    """For each number of events."""

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        found = []
        for size in self.goals:
            options = {"url": services.near, "size": size}
            found += [
                Variant(
                    name=f"ours {size}", target="publishing:ours", options={**options, "engine": self.engine}
                ),
                Variant(name=f"loop {size}", target=self.loop, options=options),
            ]
        return found

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return [
            Comparison(
                what=f"{size} event{'s' if size > 1 else ''}",
                ours=f"ours {size}",
                peer=f"loop {size}",
                kind=Kind.COST if goal.at_most else Kind.FASTER,
                goal=goal,
            )
            for size, goal in sorted(self.goals.items(), reverse=True)
        ]


class DramatiqFlush(Flush):
    number = 6
    name = "flush-dramatiq"
    what = "a flush of DramatiqHandler, on Redis"
    peer = "a loop of `send()`"
    engine = "dramatiq"
    loop = "publishing:dramatiq_send"
    goals = {1: _NO_DEARER, **_FASTER}
    needs = (VALKEY, PEERS)

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        options = {"url": services.near, "size": 100}
        return [
            *super().variants(services, scale),
            Variant(name="in a thread", target="publishing:send_in_thread", options={"url": services.near}),
            Variant(
                name="taskiq", target="other_peers:taskiq_kiq", environment=PEERS, options=options, rounds=5
            ),
            Variant(
                name="faststream",
                target="other_peers:faststream_publish",
                environment=PEERS,
                options=options,
                rounds=5,
            ),
            Variant(
                name="faststream batch",
                target="other_peers:faststream_publish",
                environment=PEERS,
                options={**options, "batch": True},
                rounds=5,
            ),
        ]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return [
            *super().comparisons(scale),
            Comparison(
                what="1 `send()` in a thread, so that it blocks no loop",
                ours="in a thread",
                peer="loop 1",
                kind=Kind.COST,
            ),
            Comparison(what="100 events, against taskiq's `kiq()`", ours="ours 100", peer="taskiq"),
            Comparison(
                what="100 events, against FastStream's `publish()`", ours="ours 100", peer="faststream"
            ),
            Comparison(
                what="100 events, against FastStream's `publish_batch()`",
                ours="ours 100",
                peer="faststream batch",
            ),
        ]


class CeleryFlush(Flush):
    number = 7
    name = "flush-celery"
    what = "a flush of CeleryHandler, on Redis"
    peer = "a loop of `delay()`"
    engine = "celery"
    loop = "publishing:celery_delay"
    goals = {10: Goal(at_least=7), 100: Goal(at_least=30, stretch=40)}


class FanOut(Row):
    number = 8
    name = "fan-out"
    group = "publishing"
    what = "the worker's fan-out of 100 events into 100 messages, on Redis"
    peer = "a loop of `send()` or `delay()`"
    needs = (VALKEY,)

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        options = {"url": services.near, "size": 100}
        return [
            *(
                Variant(name=engine, target="publishing:our_fan_out", options={**options, "engine": engine})
                for engine in ("dramatiq", "celery")
            ),
            Variant(name="send", target="publishing:dramatiq_send", options=options),
            Variant(name="delay", target="publishing:celery_delay", options=options),
        ]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return (
            Comparison(what="Dramatiq", ours="dramatiq", peer="send", goal=Goal(at_least=5, stretch=10)),
            Comparison(what="Celery", ours="celery", peer="delay", goal=Goal(at_least=3.5, stretch=10)),
        )


class RabbitFlush(Row):
    number = 9
    name = "flush-rabbitmq"
    group = "publishing"
    what = "a confirmed flush of DramatiqHandler, 100 events, on RabbitMQ"
    peer = "a loop of `send()`"
    needs = (RABBITMQ,)

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        options = {"url": services.rabbitmq, "size": 100}
        return (
            Variant(name="ours", target="publishing:ours", options={**options, "engine": "dramatiq"}),
            Variant(name="confirmed", target="publishing:dramatiq_send", options=options),
            Variant(
                name="unconfirmed", target="publishing:dramatiq_send", options={**options, "confirm": False}
            ),
        )

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return (
            Comparison(what="against each confirmed", ours="ours", peer="confirmed", goal=Goal(at_least=6)),
            Comparison(
                what="against none confirmed",
                ours="ours",
                peer="unconfirmed",
                kind=Kind.COST,
                goal=Goal(at_most=1.2, stretch=0.9),
            ),
        )


class Journalled(Row):
    number = 22
    name = "journal"
    group = "publishing"
    what = "processor time of a request to FastAPI whose events reach Dramatiq on Redis, with a journal"
    peer = "the same without"
    needs = (VALKEY,)
    _variants = tuple(
        (events, journal) for events in (1, 10) for journal in ("redis", "memory", "least", None)
    )

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        return [
            Variant(
                name=f"{events} {journal}",
                target="journal:request",
                options={
                    "url": services.near.replace("/0", f"/{number}"), "events": events, "journal": journal
                },
            )
            for number, (events, journal) in enumerate(self._variants)
        ]  # fmt: skip

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        found = []
        for events, journal in self._variants:
            counted = f"{events} event{'s' if events > 1 else ''}"
            least = "two `append()` and the JSON of one row each, so"
            if journal is not None:
                found.append(
                    Comparison(
                        what=f"{counted}, {least if journal == 'least' else f'in {journal.title()}'}",
                        ours=f"{events} {journal}",
                        peer=f"{events} None",
                        kind=Kind.COST,
                        goal=None if journal == "least" else Goal(at_most=1.03),
                    )
                )
        return found


ROWS: tuple[Row, ...] = (DramatiqFlush(), CeleryFlush(), FanOut(), RabbitFlush(), Journalled())
