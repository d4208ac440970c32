"""The result of a run: made of readings, written as JSON, read again by what renders it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import Figures, Reading
from benchmarks.rows import Row
from benchmarks.words import Comparison, Kind, Scale

Result = dict[str, Any]


def of_row(row: Row, series: Mapping[str, Sequence[Figures]], scale: Scale) -> Result:
    """A row that has been measured."""
    return {
        **_head(row),
        "comparisons": [_of(comparison, reading) for comparison, reading in row.readings(series, scale)],
        "curves": row.curves(series),
        "figures": {
            name: {figure: [each[figure] for each in rounds] for figure in (rounds[0] if rounds else ())}
            for name, rounds in series.items()
        },
    }


def not_run(row: Row, reason: str, *, broken: bool = False) -> Result:
    """A row that could not be measured, and why."""
    return {**_head(row), "reason": reason, "broken": broken, "comparisons": [], "curves": {}, "figures": {}}


def _head(row: Row) -> Result:
    return {
        "number": row.number, "name": row.name, "group": row.group, "what": row.what, "peer": row.peer,
    }  # fmt: skip


def _of(comparison: Comparison, reading: Reading) -> Result:
    goal = comparison.goal
    median = reading.median
    return {
        "what": comparison.what,
        "kind": comparison.kind.name,
        "median": median,
        "least": min(reading.ratios),
        "greatest": max(reading.ratios),
        "ours": reading.ours,
        "peer": reading.peer,
        "figure": comparison.figure,
        "goal": None if goal is None else str(goal),
        "upwards": goal is not None and goal.at_least is not None,
        "bound": None if goal is None else goal.bound,
        "stretch": None if goal is None else goal.stretch,
        "reached": None if goal is None else goal.reached(median),
        "stretched": goal is not None and goal.stretched(median),
    }


def merged(earlier: Result, later: Result) -> Result:
    """An earlier run whose rows are replaced by those that were measured again, which is written down."""
    again = {row["name"]: row for row in later["rows"]}
    rows = [again.pop(row["name"], row) for row in earlier["rows"]]
    versions = {**later["versions"], **earlier["versions"]}
    note = {key: later[key] for key in ("date", "mode", "commit", "machine")}
    note["rows"] = [row["name"] for row in later["rows"]]
    notes = [*earlier.get("again", ()), note]
    return {**earlier, "versions": versions, "rows": [*rows, *again.values()], "again": notes}


def unit(comparison: Result) -> str:
    """What stands behind its figure."""
    return Kind[comparison["kind"]].value


def write(run: Result, file: Path) -> None:
    """Keep a run."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n")


def read_run(file: Path) -> Result:
    """A run that has been kept."""
    run: Result = json.loads(file.read_text())
    return run
