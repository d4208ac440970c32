"""The command, and one real run of a small row, from its processes to its table."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import running
from benchmarks.children import BrokenVariantError, children
from benchmarks.groups import GROUPS, ROWS
from benchmarks.rows import Row
from benchmarks.running import QUICK
from benchmarks.words import OURS, Comparison, Goal, Kind, Scale, Services, Variant


class Small(Row):
    """Two variants that need no server and no peer."""

    number = 99
    name = "small"
    group = "requests"
    what = "something small"
    peer = "itself"
    target = "in_process:bare"

    def rounds(self, scale: Scale) -> int:
        return 2

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        return [Variant(name=name, target=self.target, operations=3) for name in ("ours", "peer")]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return [Comparison(what="it", ours="ours", peer="peer", kind=Kind.COST, goal=Goal(at_most=1e9))]


class Broken(Small):
    target = "in_process:no_such_variant"


class Elsewhere(Small):
    needs = ("the moon",)


def test_the_rows_are_complete() -> None:
    assert {row.number for row in ROWS} >= {*range(1, 25)}
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.group in GROUPS
        names = [variant.name for variant in row.variants(Services("redis://h:1/0", "", "", ""), QUICK)]
        assert len(set(names)) == len(names)
        for comparison in row.comparisons(QUICK):
            assert {comparison.ours, comparison.peer or comparison.ours} <= set(names)
            assert comparison.kind.is_ratio == (comparison.peer is not None)


def test_a_row_runs_in_processes_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ROWS", (Small(),))

    assert command.main(["--quick", "--output", str(tmp_path)]) == 0

    run = json.loads((tmp_path / "run.json").read_text())
    [measured] = run["rows"]
    assert len(measured["figures"]["ours"]["seconds"]) == 2
    assert measured["comparisons"][0]["reached"]
    assert run["versions"][OURS]["starlette"]
    assert (tmp_path / "bench-requests.svg").exists()
    assert "1 of 1 goals reached." in capsys.readouterr().out


def test_a_broken_benchmark_is_told_from_a_slow_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ROWS", (Broken(),))

    assert command.main(["--quick", "--output", str(tmp_path)]) == 1

    assert "no_such_variant" in capsys.readouterr().err
    [row] = json.loads((tmp_path / "run.json").read_text())["rows"]
    assert row["broken"]


def test_a_row_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_environments", lambda needs, tell: ({}, {"the moon": "it is too far"}))

    run = running.run([Elsewhere()], QUICK, lambda line: None)

    assert run["rows"][0]["reason"] == "it is too far"
    assert not run["rows"][0]["broken"]


def test_an_unknown_row_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["mathing"]) == 2

    assert "There is no row 'mathing'; did you mean 'matching'?" in capsys.readouterr().err


def test_rows_are_chosen_by_name_or_number() -> None:
    assert [row.name for row in command.chosen(["matching", "5"])] == ["matching", "calling"]
    assert command.chosen([]) == list(ROWS)


def test_a_quick_run_leaves_long_rows_out_that_it_does_not_name() -> None:
    left_out = {row.name for row in ROWS} - {row.name for row in command.chosen([], quick=True)}
    assert left_out == {row.name for row in ROWS if row.is_long}
    assert "idle-herd" in left_out
    assert [row.name for row in command.chosen(["idle-herd"], quick=True)] == ["idle-herd"]


def test_the_rows_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0

    assert " 4  matching" in capsys.readouterr().out


def test_a_variant_that_fails_says_how() -> None:
    variant = Variant(name="it", target="in_process:bare", options={"unknown": 1})

    with (
        pytest.raises(BrokenVariantError, match="unexpected keyword"),
        children([variant], {OURS: sys.executable}),
    ):
        pass
