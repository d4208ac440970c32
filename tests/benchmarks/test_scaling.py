"""What many need, from what one does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.scaling import BUSY, PATIENCE_SECONDS, Costs, need, wait_of_most, workers_for


def test_nobody_waits_for_workers_that_have_nothing_to_do() -> None:
    assert wait_of_most(1.0, 0.000_001, workers=10) == 0.0


def test_more_workers_make_waits_shorter() -> None:
    waits = [wait_of_most(1_000, 0.01, workers) for workers in (11, 15, 30)]

    assert waits == sorted(waits, reverse=True)


def test_as_many_workers_as_patience_asks_for() -> None:
    workers = workers_for(1_000, 0.01)

    assert workers >= 10
    assert wait_of_most(1_000, 0.01, workers) <= PATIENCE_SECONDS


def test_web_processes_and_brokers_keep_room() -> None:
    found = need(1_000, Costs(request=0.001, event=0.001, broker=0.000_1))

    assert found.web * BUSY >= 100 * 0.001
    assert found.brokers == 1


def test_a_run_without_the_figures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"rows": []}))

    assert scaling.main(["--run", str(tmp_path / "run.json")]) == 2
    assert "lacks a row" in capsys.readouterr().err
