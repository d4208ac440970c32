"""Runs rows: each with its variants' processes alive beside one another, and nothing else."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from benchmarks import environments, machine, results
from benchmarks.children import ROOT, BrokenVariantError, children
from benchmarks.measuring import take_turns
from benchmarks.results import Result
from benchmarks.rows import Row
from benchmarks.servers import services
from benchmarks.words import OURS, PEERS, POSTGRES, PREDECESSOR, RABBITMQ, VALKEY, Scale, Services

FULL = Scale(rounds=9, round_seconds=0.3, quick=False)
QUICK = Scale(rounds=3, round_seconds=0.15, quick=True)


def run(rows: Sequence[Row], scale: Scale, tell: Callable[[str], None]) -> Result:
    """Run rows, one after the other.

    Parameters:
        tell: Gets a line about each step.
    """
    began = time.monotonic()
    found: Result = {
        "date": datetime.now(UTC).date().isoformat(),
        "mode": "quick" if scale.quick else "full",
        "commit": _commit(),
        "machine": machine.describe(),
        "versions": {},
        "rows": [],
    }
    needs = {need for row in rows for need in row.needs}
    pythons, missing = _environments(needs, tell)
    wanted = {each: each in needs for each in (VALKEY, RABBITMQ, POSTGRES)}
    with services(**wanted) as (available, without):
        missing.update(without)
        for row in rows:
            reasons = [missing[need] for need in row.needs if need in missing]
            if reasons:
                found["rows"].append(results.not_run(row, reasons[0]))
                tell(f"{row.number:>2} {row.name}: not run: {reasons[0].splitlines()[0]}")
            else:
                with _timed(row, tell):
                    found["rows"].append(_run_row(row, scale, available, pythons, found["versions"]))
    found["minutes"] = (time.monotonic() - began) / 60
    return found


def _run_row(
    row: Row,
    scale: Scale,
    available: Services,
    pythons: dict[str, str],
    versions: dict[str, dict[str, str]],
) -> Result:
    try:
        with children(row.variants(available, scale), pythons) as started:
            for child in started:
                versions.setdefault(child.variant.environment, machine.shown(child.versions))
            series = take_turns(started, rounds=row.rounds(scale), seconds=scale.round_seconds)
        return results.of_row(row, series, scale)
    except BrokenVariantError as error:
        return results.not_run(row, str(error), broken=True)


def _environments(needs: set[str], tell: Callable[[str], None]) -> tuple[dict[str, str], dict[str, str]]:
    """The interpreters, and why some are missing."""
    pythons, missing = {OURS: environments.python_of(OURS)}, {}
    for name in (PREDECESSOR, PEERS):
        if name in needs:
            try:
                pythons[name] = environments.python_of(name)
            except environments.NoEnvironmentError as error:
                tell(str(error))
                missing[name] = f"no environment {name!r}: {error}"
    return pythons, missing


@contextmanager
def _timed(row: Row, tell: Callable[[str], None]) -> Iterator[None]:
    began = time.monotonic()
    yield
    tell(f"{row.number:>2} {row.name} ({time.monotonic() - began:.0f} s)")


def _commit() -> str:
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        asked = subprocess.run(git, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return asked.stdout.strip() or "unknown"
