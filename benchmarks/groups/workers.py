"""Worker processes, started by their engine's own command, that work off what waits in the queue.

The bare actor or task gets each event in a message of its own and counts it; so does our subscription, after
the batch that a request published has been fanned out. Eight threads in one process, either way.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

from benchmarks.rows import Row
from benchmarks.words import RABBITMQ, VALKEY, Comparison, Goal, Kind, Scale, Services, Variant


class Workers(Row):
    group = "workers"
    _databases: Sequence[tuple[str, str]]
    _on_our_transport: Collection[str] = ()
    _keys: Mapping[str, int] = {}
    _rounds_of_calls = 1
    _batch = 10
    _once: Mapping[str, bool | str] = {}
    _journal: Collection[str] = ()
    needs = (VALKEY,)

    def rounds(self, scale: Scale) -> int:
        return 3 if scale.quick else 5

    def _variant(
        self, services: Services, scale: Scale, name: str, *, mode: str = "bare", dependency: bool = False
    ) -> Variant:
        calls = self._rounds_of_calls * _calls(scale)
        return Variant(
            name=name,
            target="worker:working_off",
            options={
                # Each in a database of its own: the workers of all variants are alive at once.
                "url": services.near.replace("/0", f"/{2 * self._databases.index((name, mode))}"),
                "engine": name.split()[0],
                "ours": mode in ("both", "perform"),
                "calls": calls,
                "mode": mode,
                "dependency": dependency,
                "transport": name in self._on_our_transport,
                "batch": self._batch,
                "once": self._once.get(name, False),
                "journal": name in self._journal,
                "keys": self._keys.get(name, 0),
            },
            operations=calls,
        )


_BY_HAND = "the same two hops by hand, with `{}()` for each event, so"


def _calls(scale: Scale) -> int:
    return 300 if scale.quick else 1_500


class EndToEnd(Workers):
    number = 12
    name = "worker"
    what = "a worker, end to end: fan-out of batches of ten, then one subscription that does nothing"
    peer = "a bare actor or task that gets the same events"

    _databases = (
        ("dramatiq", "both"), ("dramatiq bare", "bare"), ("celery", "both"), ("celery bare", "bare"),
        ("celery bare, our transport", "bare"), ("dramatiq by hand", "by hand"),
        ("celery by hand", "by hand"),
    )  # fmt: skip
    # As our documentation says; the bare task has it once, and once what Celery comes with.
    _on_our_transport = ("celery", "celery bare, our transport", "celery by hand")

    _goal = Goal(at_least=0.9, stretch=1.0)

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        return [self._variant(services, scale, name, mode=mode) for name, mode in self._databases]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return (
            Comparison(what="Dramatiq", ours="dramatiq", peer="dramatiq bare", goal=self._goal),
            Comparison(what=_BY_HAND.format("send"), ours="dramatiq by hand", peer="dramatiq bare"),
            Comparison(
                what="Celery, both by our transport",
                ours="celery",
                peer="celery bare, our transport",
                goal=self._goal,
            ),
            Comparison(
                what=_BY_HAND.format("delay"), ours="celery by hand", peer="celery bare, our transport"
            ),
            Comparison(what="Celery, the bare task by its own", ours="celery", peer="celery bare"),
        )


class EndToEndAlone(EndToEnd):
    name = "worker-alone"
    what = "the same, with one event a flush, as most requests have"
    _batch = 1
    _goal = Goal(at_least=0.6, stretch=0.8)


class EndToEndOnRabbitmq(Row):
    number = 12
    name = "worker-rabbitmq"
    group = "workers"
    what = "the same on RabbitMQ"
    peer = "a bare actor or task that gets the same events"
    needs = (VALKEY, RABBITMQ)

    def rounds(self, scale: Scale) -> int:
        return 2 if scale.quick else 5

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        return [
            Variant(
                name=f"{engine}, {kind}",
                target="worker:working_off_rabbitmq",
                options={
                    "url": services.rabbitmq,
                    "told": services.near.replace("/0", f"/{number}"),
                    "engine": engine,
                    "ours": mode == "both",
                    "mode": mode,
                    "calls": _calls(scale),
                    "queue": f"bench-{engine}-{kind}".replace(" ", "-"),
                    "batch": batch,
                },
                operations=_calls(scale),
            )
            for number, (engine, (kind, mode, batch)) in enumerate(
                itertools.product(("dramatiq", "celery"), self._kinds)
            )
        ]

    _kinds = (
        ("ten", "both", 10), ("ten by hand", "by hand", 10),
        ("one", "both", 1), ("one by hand", "by hand", 1), ("bare", "bare", 1),
    )  # fmt: skip

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        found = []
        for engine, call in (("dramatiq", "send"), ("celery", "delay")):
            for kind, what, goal, stretch in (
                ("ten", "batches of ten", 0.9, 1.0),
                ("one", "one event a flush", 0.6, 0.8),
            ):
                bare = f"{engine}, bare"
                found += [
                    Comparison(
                        what=f"{engine.title()}, {what}", ours=f"{engine}, {kind}", peer=bare,
                        goal=Goal(at_least=goal, stretch=stretch),
                    ),
                    Comparison(what=_BY_HAND.format(call), ours=f"{engine}, {kind} by hand", peer=bare),
                ]  # fmt: skip
        return found


class Backlog(Row):
    number = 23
    name = "backlog"
    group = "workers"
    what = "a worker while a million calls wait in Valkey (a quick run: 100,000)"
    peer = "the same while 10,000 wait"
    is_long = True
    needs = (VALKEY,)

    def rounds(self, scale: Scale) -> int:
        return 2 if scale.quick else 5

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        calls = _calls(scale)
        return [
            Variant(
                name=f"{engine} {size}{'' if ours else ', bare'}",
                target="worker:with_backlog",
                options={
                    "url": services.near.replace("/0", f"/{number}"),
                    "engine": engine,
                    "ours": ours,
                    "waiting": waiting,
                    "calls": calls,
                },
                operations=calls,
            )
            for number, (engine, ours, (size, waiting)) in enumerate(
                itertools.product(
                    ("dramatiq", "celery"),
                    (True, False),
                    (("many", 100_000 if scale.quick else 1_000_000), ("few", 10_000)),
                )
            )
        ]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        found = []
        for engine, call in (("dramatiq", "send"), ("celery", "delay")):
            many, few, title = f"{engine} many", f"{engine} few", engine.title()
            found += [
                Comparison(what=f"{title}, calls", ours=many, peer=few, goal=Goal(at_least=0.9)),
                Comparison(
                    what=f"a bare actor or task whose calls wait by `{call}()`, so",
                    ours=f"{many}, bare",
                    peer=f"{few}, bare",
                ),
                Comparison(
                    what=f"{title}, memory of the worker",
                    ours=many,
                    peer=few,
                    figure="memory",
                    kind=Kind.COST,
                    goal=Goal(at_most=1.1),
                ),
            ]
        return found


class Once(Workers):
    number = 20
    name = "once"
    what = "a worker, end to end, whose function has `once=True`, with the inbox in the same Redis"
    peer = "the same function without"
    _databases = (
        ("dramatiq once", "both"),
        ("dramatiq by hand", "both"),
        ("dramatiq", "both"),
        ("celery once", "both"),
        ("celery by hand", "both"),
        ("celery", "both"),
    )
    _on_our_transport = ("celery once", "celery by hand", "celery")
    _once: Mapping[str, bool | str] = {
        "dramatiq once": True,
        "celery once": True,
        "dramatiq by hand": "by hand",
        "celery by hand": "by hand",
    }

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        return [self._variant(services, scale, name, mode=mode) for name, mode in self._databases]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        goal = Goal(at_least=0.8, stretch=0.9)
        by_hand = "a function that says by two `SET` itself what it begins and has completed, so"
        return (
            Comparison(what="Dramatiq", ours="dramatiq once", peer="dramatiq", goal=goal),
            Comparison(what=by_hand, ours="dramatiq by hand", peer="dramatiq"),
            Comparison(what="Celery", ours="celery once", peer="celery", goal=goal),
            Comparison(what=by_hand, ours="celery by hand", peer="celery"),
        )


class Journalled(Workers):
    number = 22
    name = "worker-journal"
    what = "a worker, end to end, with the journal in the same Redis"
    peer = "the same without"
    _databases = (
        ("dramatiq journal", "both"),
        ("dramatiq", "both"),
        ("celery journal", "both"),
        ("celery", "both"),
    )
    _on_our_transport = ("celery journal", "celery")
    _journal = ("dramatiq journal", "celery journal")

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        return [self._variant(services, scale, name, mode=mode) for name, mode in self._databases]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        goal = Goal(at_least=0.9)
        return (
            Comparison(what="Dramatiq", ours="dramatiq journal", peer="dramatiq", goal=goal),
            Comparison(what="Celery", ours="celery journal", peer="celery", goal=goal),
        )


class InOrder(Workers):
    number = 19
    name = "in-order"
    what = "a worker, end to end, with 1,000 ordering keys, or one, and lanes in the same Redis"
    peer = "the same events without a key"
    _databases = (("dramatiq 1,000 keys", "both"), ("dramatiq one key", "both"), ("dramatiq", "both"))
    _keys: Mapping[str, int] = {"dramatiq 1,000 keys": 1_000, "dramatiq one key": 1}
    _rounds_of_calls = 3  # several events a key

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        return [self._variant(services, scale, name, mode=mode) for name, mode in self._databases]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return (
            Comparison(
                what="an event, 1,000 keys",
                ours="dramatiq 1,000 keys",
                kind=Kind.MILLISECONDS,
                goal=Goal(at_most=1_000 / 1_200, stretch=1_000 / 1_500),
            ),
            Comparison(what="1,000 keys", ours="dramatiq 1,000 keys", peer="dramatiq"),
            Comparison(what="one key", ours="dramatiq one key", peer="dramatiq"),
        )


class Performing(Workers):
    number = 13
    name = "perform"
    what = "a worker's `perform` alone: an async subscription with one dependency"
    peer = "a bare actor"
    _databases = (("dramatiq", "perform"), ("dramatiq bare", "bare"))

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        return (
            self._variant(services, scale, "dramatiq", mode="perform", dependency=True),
            self._variant(services, scale, "dramatiq bare"),
        )

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return (
            Comparison(
                what="Dramatiq",
                ours="dramatiq",
                peer="dramatiq bare",
                kind=Kind.COST,
                goal=Goal(at_most=1.05, stretch=1.03),
            ),
        )


ROWS: tuple[Row, ...] = (
    EndToEnd(),
    EndToEndAlone(),
    EndToEndOnRabbitmq(),
    Performing(),
    Backlog(),
    Once(),
    InOrder(),
    Journalled(),
)
