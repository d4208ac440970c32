"""How many processes so many events a second need: `python -m benchmarks.scaling`, from a run's figures.

What one process does was measured; what many need is simulated. Workers are a queue: requests arrive at
random and bring their events all at once, and each process handles one event after the other.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import chart
from benchmarks.__main__ import IMAGES, RESULTS, ROOT
from benchmarks.report import replace_between, time
from benchmarks.results import Result, read_run

PAGE = ROOT / "docs" / "scaling.md"

EVENTS_PER_REQUEST = 10
PATIENCE_SECONDS = 0.1
"""How long 99 of 100 events may wait for a worker, at most."""

BUSY = 0.7
"""How busy web processes and brokers may be: beyond that, what waits for them grows fast."""

_SIMULATED = 20_000
_RATES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)


@dataclass(frozen=True, slots=True)
class Costs:
    """What a run has measured of an engine.

    Parameters:
        request: Seconds of a web process, for a request with its events.
        event: Seconds of a worker process, from the queue to the end of a function that does nothing.
        broker: Seconds of the broker's processor for the same.
    """

    request: float
    event: float
    broker: float


@dataclass(frozen=True, slots=True)
class Need:
    """What a number of events per second takes."""

    rate: int
    web: int
    workers: int
    brokers: int


def costs_of(run: Result, engine: str) -> Costs:
    """Read a run.

    Raises:
        LookupError: When it lacks the rows `web-loopback` or `worker`.
    """
    figures = {row["name"]: row["figures"] for row in run["rows"]}
    web, worker = figures["web-loopback"][f"ours {engine}"], figures["worker"][engine]
    return Costs(
        request=statistics.median(web["seconds"]),
        event=statistics.median(worker["seconds"]),
        broker=statistics.median(worker["broker"]),
    )


def need(rate: int, costs: Costs, *, function_seconds: float = 0.0) -> Need:
    """What so many events per second take.

    Parameters:
        function_seconds: How long the subscription's own work keeps its process busy.
    """
    return Need(
        rate,
        web=math.ceil(rate / EVENTS_PER_REQUEST * costs.request / BUSY),
        workers=workers_for(rate, costs.event + function_seconds),
        brokers=math.ceil(rate * costs.broker / BUSY),
    )


def workers_for(rate: float, seconds: float) -> int:
    """The fewest worker processes with which 99 of 100 events wait no longer than `PATIENCE_SECONDS`."""
    workers = max(1, math.ceil(rate * seconds))  # fewer could never keep up
    while wait_of_most(rate, seconds, workers) > PATIENCE_SECONDS:
        workers += max(1, workers // 50)
    return workers


def wait_of_most(rate: float, seconds: float, workers: int, *, seed: int = 1) -> float:
    """Simulate the queue; 99 of 100 events wait no longer than this."""
    dice = random.Random(seed)
    free = [0.0] * workers
    heapq.heapify(free)
    now = 0.0
    waits: list[float] = []
    while len(waits) < _SIMULATED:
        now += dice.expovariate(rate / EVENTS_PER_REQUEST)
        for _ in range(EVENTS_PER_REQUEST):
            begins = max(now, free[0])
            heapq.heapreplace(free, begins + seconds)
            waits.append(begins - now)
    return sorted(waits)[int(len(waits) * 0.99)]


def markdown(run: Result, engines: Sequence[str], functions: Sequence[float]) -> str:
    """A table for each engine and each duration of the functions."""
    parts = []
    for engine in engines:
        costs = costs_of(run, engine)
        parts.append(
            f"**{engine.title()}**: a request with {EVENTS_PER_REQUEST} events takes {time(costs.request)} "
            f"of a web process, an event {time(costs.event)} of a worker process "
            f"and {time(costs.broker)} of the broker's processor."
        )
        heads = [f"workers, functions of {time(each) if each else '0 s'}" for each in functions]
        lines = [
            f"| events/s | web processes | {' | '.join(heads)} | brokers |",
            f"|{' --- |' * (3 + len(heads))}",
        ]
        for rate in _RATES:
            needs = [need(rate, costs, function_seconds=each) for each in functions]
            workers = " | ".join(f"{each.workers:,}" for each in needs)
            lines.append(f"| {rate:,} | {needs[0].web:,} | {workers} | {needs[0].brokers:,} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def plot(run: Result, engines: Sequence[str]) -> str:
    """The table as a chart, with functions that do nothing."""
    lines = {}
    for engine in engines:
        needs = [need(rate, costs_of(run, engine)) for rate in _RATES]
        lines[f"web, {engine}"] = [(each.rate, float(each.web)) for each in needs]
        lines[f"workers, {engine}"] = [(each.rate, float(each.workers)) for each in needs]
        lines[f"brokers, {engine}"] = [(each.rate, float(each.brokers)) for each in needs]
    return chart.curves("Processes that events need", "events per second", "processes", lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what events need, and put it into the page if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--run", type=Path, default=RESULTS / "run.json", help="the JSON of a run")
    parser.add_argument("--update-docs", action="store_true", help="write to docs/scaling.md and docs/images")
    options = parser.parse_args(arguments)
    engines = ("dramatiq", "celery")
    run = read_run(options.run)
    try:
        text = markdown(run, engines, (0.0, 0.005, 0.05))
    except LookupError as error:
        sys.stderr.write(f"{options.run} lacks a row or a figure: {error}\n")
        return 2
    print(text)  # noqa: T201 - it is a command
    if options.update_docs:
        IMAGES.mkdir(exist_ok=True)
        (IMAGES / "scaling.svg").write_text(plot(run, engines))
        replace_between(PAGE, "scaling", f"{text}\n\n![Processes that events need](images/scaling.svg)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
