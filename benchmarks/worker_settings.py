"""The row about the settings of `workers/` as tables for the page about workers."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.groups.settings import (
    BURST,
    FIGURES,
    HELD,
    SETTINGS,
    SHIPPED,
    Setting,
    WorkerSettings,
    variant_of,
)
from benchmarks.report import conditions, number, replace_between
from benchmarks.results import Result, read_run

PAGE = Path(__file__).parents[1] / "docs" / "worker-settings.md"
RUN = Path(__file__).parent / "results" / "run.json"

Rounds = Mapping[str, Sequence[float]]
"""The figures of a variant, one a round."""


def markdown(run: Result) -> str:
    """A table for each engine, and what it was measured on.

    Raises:
        LookupError: When the run has no such row, or it was not measured.
    """
    row = next((each for each in run["rows"] if each["name"] == WorkerSettings.name), None)
    if row is None or not row["figures"]:
        raise LookupError(f"no figures of {WorkerSettings.name}")
    parts = []
    for engine, shipped in SHIPPED.items():
        settings = [each for each in SETTINGS if each.engine == engine]
        parts.append("\n".join(_table(settings, shipped, row["figures"])))
    measured = {**run, "versions": {"ours": run["versions"]["ours"]}}
    return "\n\n".join([*parts, "\n".join(conditions(measured, of=WorkerSettings.name))])


def update_docs(run: Result) -> None:
    """Put the tables into the page."""
    replace_between(PAGE, "settings", markdown(run))


def _table(settings: Sequence[Setting], shipped: Setting, figures: Mapping[str, Rounds]) -> Iterator[str]:
    columns = [f"events/s, {does}" for does in FIGURES.values()]
    yield f"| {shipped.engine.title()} | {' | '.join(columns)} | burst, s | held when killed |"
    yield "| --- |" + " --- |" * (len(FIGURES) + 2)
    standard = figures[variant_of(shipped)]
    for setting in settings:
        own = figures[variant_of(setting)]
        cells = [f"**{setting.name}** (shipped)" if setting == shipped else setting.name]
        for figure in FIGURES:
            ratios = [theirs / ours for ours, theirs in zip(own[figure], standard[figure], strict=True)]
            each_second = number(1 / statistics.median(own[figure]))
            spread = f"{number(min(ratios))} – {number(max(ratios))}"
            cells.append(f"{each_second}<br>{number(statistics.median(ratios))} × ({spread})")
        cells += [number(statistics.median(own[BURST])), number(max(own[HELD]))]
        yield f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of a run, and put them into the page if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker_settings", description=__doc__)
    parser.add_argument("--run", type=Path, default=RUN, help="the JSON of a run")
    parser.add_argument("--update-docs", action="store_true", help="write to docs/worker-settings.md")
    options = parser.parse_args(arguments)
    run = read_run(options.run)
    try:
        text = markdown(run)
    except LookupError as error:
        sys.stderr.write(f"{options.run} lacks a row or a figure: {error}\n")
        return 2
    print(text)  # noqa: T201 - it is a command
    if options.update_docs:
        update_docs(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
