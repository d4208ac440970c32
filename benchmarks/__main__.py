"""Measure rows side by side with the peers, and write a table, JSON and charts."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import chart, report, results, worker_settings
from benchmarks.groups import GROUPS, ROWS
from benchmarks.results import Result
from benchmarks.rows import Row
from benchmarks.running import FULL, QUICK, run

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0 unless a benchmark itself broke."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)
    if options.list:
        for row in ROWS:
            say(f"{row.number:>2}  {row.name:<16}  {row.what}")
        return 0
    if options.render:
        found = results.read_run(options.render)
    else:
        try:
            rows = chosen(options.names, quick=options.quick)
        except UnknownRowError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        found = run(rows, QUICK if options.quick else FULL, say)
        if options.add_to:
            found = results.merged(results.read_run(options.add_to), found)
    broken = [row for row in found["rows"] if row.get("broken")]
    say(f"\n{report.markdown(found)}\n{report.verdict(found)}")
    for row in broken:
        sys.stderr.write(f"\n{row['name']} broke:\n{row['reason']}\n")
    keep(found, RESULTS if options.update_docs else options.output)
    if options.update_docs:
        update_docs(found)
    return 1 if broken else 0


class UnknownRowError(Exception):
    """Raised when no row has the name."""


def chosen(names: Sequence[str], *, quick: bool = False) -> list[Row]:
    """The rows of these names or numbers; all if there are none, but for long ones in a quick run.

    Raises:
        UnknownRowError: When one is unknown, with the nearest that is not.
    """
    known = {row.name for row in ROWS}
    for name in names:
        if name not in known and not any(str(row.number) == name for row in ROWS):
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else "--list shows them all."
            raise UnknownRowError(f"There is no row {name!r}; {hint}")
    if not names:
        return [row for row in ROWS if not (quick and row.is_long)]
    return [row for row in ROWS if row.name in names or str(row.number) in names]


def keep(found: Result, folder: Path) -> None:
    """Write a run's JSON, table and charts into a folder."""
    results.write(found, folder / "run.json")
    (folder / "run.md").write_text(report.markdown(found))
    for name, svg in charts(found).items():
        (folder / f"{name}.svg").write_text(svg)
    say(f"Written to {folder}")


def charts(found: Result) -> dict[str, str]:
    """A chart for each group that compares times, and one for each row with curves."""
    drawn = {}
    for group, title in GROUPS.items():
        rows = [row for row in found["rows"] if row["group"] == group]
        if bars := chart.bars(title, rows):
            drawn[f"bench-{group}"] = bars
        for row in rows:
            if row["curves"]:
                drawn[f"bench-{row['name']}-curves"] = chart.curves(
                    "The cost of an event as numbers grow", "how many", "µs an event", row["curves"]
                )
    return drawn


def update_docs(found: Result) -> None:
    """Put a run into the page about performance, and its row about settings into the one about workers."""
    IMAGES.mkdir(exist_ok=True)
    drawn = charts(found)
    for name, svg in drawn.items():
        (IMAGES / f"{name}.svg").write_text(svg)
    images = "\n\n".join(f"![{name}](images/{name}.svg)" for name in drawn)
    report.replace_between(
        PAGE, "run", f"{report.verdict_in_words(found)}\n\n{report.markdown(found)}\n{images}"
    )
    say(f"Written to {PAGE}")
    with contextlib.suppress(LookupError):  # an earlier run may lack the row
        worker_settings.update_docs(found)


def say(line: str) -> None:
    """Tell whoever started it."""
    print(line, flush=True)  # noqa: T201 - it is a command


def _end(*_: object) -> None:
    """End as an error does: what was started is stopped on the way out."""
    sys.exit(128 + signal.SIGTERM)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="ROW", help="rows by name or number (default: all)")
    parser.add_argument("--list", action="store_true", help="list the rows, and end")
    parser.add_argument("--quick", action="store_true", help="shorter and fewer rounds, and no long rows")
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / ".bench",
        metavar="FOLDER",
        help="where to write (default: .bench)",
    )
    parser.add_argument("--render", type=Path, metavar="JSON", help="measure nothing: render an earlier run")
    parser.add_argument(
        "--add-to",
        type=Path,
        metavar="JSON",
        help="replace these rows in an earlier run, which is then written",
    )
    parser.add_argument(
        "--update-docs", action="store_true", help="write to benchmarks/results and docs/performance.md"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
