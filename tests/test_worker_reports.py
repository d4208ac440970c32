"""The files by which worker processes report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fastapi_events import worker_reports


def a_report(pid: int) -> Any:
    return {"pid": pid, "engine": "list", "at": 1.0, "booted": True, "in_hand": 0, "took": {"events": 1.0}}


def test_reports_are_read_and_those_of_the_dead_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(60)
    for pid in (os.getpid(), ended.pid):
        worker_reports.write(str(tmp_path), f"{pid}.json", a_report(pid))
    (tmp_path / "verdict.json").touch()
    (tmp_path / "lock").touch()

    assert list(worker_reports.reports_in(str(tmp_path))) == [a_report(os.getpid())]
    assert {each.name for each in tmp_path.iterdir()} == {f"{os.getpid()}.json", "verdict.json", "lock"}


def test_a_verdict_that_is_not_there_or_half_written_is_none(tmp_path: Path) -> None:
    assert worker_reports.verdict_in(str(tmp_path)) is None
    (tmp_path / "verdict.json").write_text('{"at": 1')
    assert worker_reports.verdict_in(str(tmp_path)) is None


def test_each_target_has_a_folder_in_each_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = worker_reports.base_of("app.handlers")
    assert here != worker_reports.base_of("app.mail")
    monkeypatch.chdir(tmp_path)
    assert here != worker_reports.base_of("app.handlers")


def test_a_folder_is_ours_alone(tmp_path: Path) -> None:
    folder = tmp_path / "user" / "target"
    worker_reports.make_private(str(folder))
    worker_reports.make_private(str(folder))
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    with pytest.raises(PermissionError, match="open to others"):
        worker_reports.make_private(str(folder))
