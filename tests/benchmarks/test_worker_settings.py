"""The tables about settings of workers, from the figures of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import results, worker_settings
from benchmarks.groups.settings import BURST, FIGURES, HELD, SETTINGS, SHIPPED, WorkerSettings, variant_of
from benchmarks.results import Result
from benchmarks.running import QUICK


@pytest.fixture
def run() -> Result:
    figures = {
        variant_of(each): [{**dict.fromkeys(FIGURES, 0.002), BURST: 1.5, HELD: 3.0}] * 2 for each in SETTINGS
    }
    for shipped in SHIPPED.values():
        rounds = [{**dict.fromkeys(FIGURES, seconds), BURST: 1.5, HELD: 3.0} for seconds in (0.001, 0.004)]
        figures[variant_of(shipped)] = rounds
    return {
        "date": "2026-01-31", "minutes": 1.0, "mode": "quick", "commit": "abc",
        "versions": {"ours": {"dramatiq": "2"}, "peers": {"taskiq": "0"}},
        "machine": {"cpu": "a cpu", "cores": "2", "kernel": "Linux", "python": "CPython", "load": "0.1"},
        "rows": [results.of_row(WorkerSettings(), figures, QUICK)],
    }  # fmt: skip


def test_settings_stand_beside_what_is_shipped(run: Result) -> None:
    # Given a setting that took 2 ms an event, where the shipped one took 1 and 4 ms
    # When the tables are made
    text = worker_settings.markdown(run)

    # Then it is 0.5 and 2 times as fast, and its median is between
    ratios = "500<br>1.25 × (0.5 – 2)"
    assert f"| --processes 1 --threads 4, prefetch 8 | {ratios} | {ratios} | 1.5 | 3 |" in text
    assert "| **--processes 2 --threads 8, prefetch 16** (shipped) | 400<br>1 × (1 – 1) |" in text
    assert "quick mode" in text
    assert "taskiq" not in text


def test_the_page_has_a_place_for_them(run: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "worker-settings.md"
    page.write_text(worker_settings.PAGE.read_text())
    monkeypatch.setattr(worker_settings, "PAGE", page)

    worker_settings.update_docs(run)

    assert "commit `abc`" in page.read_text()


def test_a_run_without_the_row_is_refused(
    run: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results.write({**run, "rows": []}, tmp_path / "run.json")

    assert worker_settings.main(["--run", str(tmp_path / "run.json")]) == 2
    assert "no figures of worker-settings" in capsys.readouterr().err
