"""The workers of `workers/` with more or less prefetch, threads and processes than it ships.

Events have been published in batches of ten before the clock starts; a worker fans them out, and calls one
function for each. Besides, it counts what a worker holds that is killed while its functions are slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.rows import Row
from benchmarks.words import VALKEY, Comparison, Scale, Services, Variant

FIGURES = {"cat-fed": "does nothing", "cat-looked-up": "waits 2 ms"}
"""The figures of a variant in seconds an event, and what the function does."""

BURST = "burst"
"""Seconds that thirty events take whose function waits 0.25 s: long where one process took those of all."""

HELD = "held"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One way to start a worker.

    Parameters:
        engine: `dramatiq` or `celery`.
        arguments: What follows the command.
        environ: Variables that it is started with.
        processes: How many run functions.
    """

    engine: str
    name: str
    arguments: Sequence[str]
    environ: Mapping[str, str]
    processes: int


def _dramatiq(processes: int, threads: int, prefetch: int | None) -> Setting:
    chosen = {} if prefetch is None else {"dramatiq_queue_prefetch": str(prefetch)}
    return Setting(
        engine="dramatiq",
        name=f"--processes {processes} --threads {threads}, prefetch {prefetch or 2 * threads}",
        arguments=("dramatiq", "workers", "--processes", str(processes), "--threads", str(threads)),
        environ={"dramatiq_worker_timeout": "100", **chosen},
        processes=processes,
    )


def _celery(pool: str, concurrency: int, multiplier: int) -> Setting:
    return Setting(
        engine="celery",
        name=f"--pool {pool} --concurrency {concurrency}, multiplier {multiplier}",
        arguments=(
            "celery", "-A", "workers", "worker", "--pool", pool, "--concurrency", str(concurrency),
            "--prefetch-multiplier", str(multiplier),
        ),
        environ={},
        processes=concurrency if pool == "prefork" else 1,
    )  # fmt: skip


SHIPPED = {"dramatiq": _dramatiq(2, 8, None), "celery": _celery("prefork", 4, 1)}
"""What `docker-compose.yml` starts."""

SETTINGS: tuple[Setting, ...] = (
    *(
        _dramatiq(processes, threads, prefetch)
        for processes in (1, 2)
        for threads in (4, 8, 16)
        for prefetch in (None, 50, 200)
    ),
    SHIPPED["celery"],
    *(_celery("prefork", 2, multiplier) for multiplier in (1, 4, 16)),
    *(_celery("threads", 8, multiplier) for multiplier in (1, 4)),
)


class WorkerSettings(Row):
    number = 25
    name = "worker-settings"
    group = "workers"
    what = "`workers/`, end to end: fan-out of batches of ten, then one subscription"
    peer = "the settings it ships"
    needs = (VALKEY,)
    is_long = True

    def rounds(self, scale: Scale) -> int:
        return 3  # of two dozen turns, in each of which a worker has to start

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        calls = 800 if scale.quick else 2_000
        return [
            Variant(
                name=variant_of(setting),
                target="worker_settings:working_off",
                options={
                    "url": services.near,  # one for all: they are alive one after the other
                    "engine": setting.engine,
                    "arguments": setting.arguments,
                    "environ": dict(setting.environ),
                    "processes": setting.processes,
                    "calls": calls,
                },
                operations=calls,
            )
            for setting in SETTINGS
        ]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return [
            Comparison(
                what=f"{setting.engine}, {setting.name}; a function that {does}",
                ours=variant_of(setting),
                peer=variant_of(SHIPPED[setting.engine]),
                figure=figure,
            )
            for setting in SETTINGS
            if setting != SHIPPED[setting.engine]
            for figure, does in FIGURES.items()
        ]


def variant_of(setting: Setting) -> str:
    """The name of the variant that measures it."""
    return f"{setting.engine} {setting.name}"


ROWS: tuple[Row, ...] = (WorkerSettings(),)
