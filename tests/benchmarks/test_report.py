"""A run as a table and as charts; what missed its goal is shown as such."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import chart, report, results
from benchmarks.results import Result
from benchmarks.rows import Row
from benchmarks.running import QUICK
from benchmarks.words import Comparison, Goal, Scale


class Cats(Row):
    number = 99
    name = "cats"
    group = "publishing"
    what = "feeding <cats>"
    peer = "dogs"

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return (
            Comparison(what="a herring", ours="cats", peer="dogs", goal=Goal(at_least=2, stretch=4)),
            Comparison(what="a sprat", ours="cats", peer="dogs", goal=Goal(at_least=10)),
            Comparison(what="a crumb", ours="cats", peer="dogs"),
        )


@pytest.fixture
def run() -> Result:
    series = {"cats": [{"seconds": 1e-6}, {"seconds": 1e-6}], "dogs": [{"seconds": 5e-6}, {"seconds": 7e-6}]}
    return {
        "date": "2026-01-31", "minutes": 1.0, "mode": "quick", "commit": "abc",
        "versions": {"ours": {"redis": "8"}},
        "machine": {"cpu": "a cpu", "cores": "2", "kernel": "Linux", "python": "CPython", "load": "0.1"},
        "rows": [results.of_row(Cats(), series, QUICK), results.not_run(Cats(), "no fish\nat all")],
    }  # fmt: skip


def test_the_table_marks_what_was_reached_and_what_was_not(run: Result) -> None:
    table = report.markdown(run)

    assert "| a herring | 6 × as fast<br>5 – 7 | ✓✓ ≥ 2 (4) | 1 µs | 6 µs |" in table
    assert "| a sprat | 6 × as fast<br>5 – 7 | ✗ ≥ 10 |" in table
    assert "*not run: no fish*" in table


def test_the_verdict_names_what_missed_its_goal(run: Result) -> None:
    verdict = report.verdict(run)

    assert verdict.startswith("1 of 2 goals reached.")
    assert "✗ 99 cats: a sprat: 6 × as fast, goal ≥ 10" in verdict
    assert "– 99 cats: no fish" in verdict


def test_a_run_can_be_kept_and_read_again(run: Result, tmp_path: Path) -> None:
    results.write(run, tmp_path / "deep" / "run.json")

    assert results.read_run(tmp_path / "deep" / "run.json") == run


def test_rows_measured_again_replace_those_of_the_run_and_say_so(run: Result) -> None:
    again = {**run, "commit": "def", "rows": [results.not_run(Cats(), "asleep")]}
    again["rows"][0]["name"] = "kittens"

    both = results.merged(run, again)

    assert [row["name"] for row in both["rows"]] == ["cats", "cats", "kittens"]
    assert "commit `def`, load average 0.1: `kittens`" in report.markdown(both)


def test_charts_are_svg(run: Result) -> None:
    bars = ElementTree.fromstring(chart.bars("Cats", run["rows"]))
    lines = ElementTree.fromstring(chart.curves("Cats", "cats", "µs", {"cats": [(1, 2.0), (100, 30.0)]}))

    texts = ["".join(each.itertext()) for each in bars.iter("{http://www.w3.org/2000/svg}text")]
    assert any("a herring" in text for text in texts)
    assert list(lines.iter("{http://www.w3.org/2000/svg}polyline"))


@pytest.mark.parametrize(
    ("value", "shown"), [(1234.6, "1,230"), (21.04, "21"), (0.1234, "0.123"), (0, "0"), (7.0, "7")]
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert report.number(value) == shown


def test_only_what_is_between_the_markers_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench:run -->\nold\n<!-- /bench:run -->\nafter\n")

    report.replace_between(page, "run", "new \\1")
    report.replace_between(page, "run", "newer \\1")

    assert page.read_text() == ("before\n<!-- bench:run -->\n\nnewer \\1\n\n<!-- /bench:run -->\nafter\n")
    with pytest.raises(ValueError, match="no markers"):
        report.replace_between(page, "other", "new")
