"""Write what was measured into the documentation: `python -m tests.faults.table`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.faults.results import Result, recorded

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- table: make faults -->", "<!-- end of the table -->"

_HEAD = "| # | fault | engine | broker | mode | events | handled | again | dead | reported lost | lost |"


def table(results: Iterable[Result]) -> str:
    """The table, as Markdown."""
    lines = [_HEAD, "| --- " * 5 + "| --: " * 6 + "|"]
    for each in results:
        numbers = (each.events, each.handled, each.duplicates, each.dead, each.reported, each.lost)
        shown = [f"{number:,}" for number in numbers] if each.events else ["-"] * len(numbers)
        words = [str(each.row), each.fault, each.engine, each.broker, each.mode]
        lines.append(f"| {' | '.join([*words, *shown])} |")
    return "\n".join(lines)


def write(page: Path, results: Iterable[Result]) -> None:
    """Replace what stands between the page's two markers."""
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n\n{table(results)}\n\n{END}{after}")


if __name__ == "__main__":
    write(PAGE, recorded())
