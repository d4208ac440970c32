"""The thread that looks after workers: what it reads, writes, and has started again."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

from fastapi_events import worker_reports
from fastapi_events.cli.worker_watch import WorkerWatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue.depth import QueueDepth
from tests.cli.test_worker_judge import report
from tests.handlers.task_queue.broker import ListEngine, ListHandler
from tests.processes import until


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


class Restarted(list[str]):
    """A supervisor that notes whom it should start again."""

    is_stopping = False

    def restart(self, name: str, /) -> None:
        self.append(name)


def a_watch(restarted: Restarted) -> WorkerWatch:
    return WorkerWatch("app.handlers", [ListHandler()], silent_after=30, supervisor=restarted)


def test_it_reads_reports_and_writes_what_it_finds() -> None:
    with a_watch(Restarted()) as watch:
        worker_reports.write(watch.folder, f"{os.getpid()}.json", report(time.monotonic(), pid=os.getpid()))
        until(lambda: watch.verdict["ready"], "that the worker is ready")
        until(lambda: worker_reports.verdict_in(watch.folder) is not None, "that it is written")
    assert not os.path.exists(watch.folder)


class Waiting(ListEngine):
    """A message waits, and nobody takes it."""

    def depths(self, queues: Collection[str], *, timeout: float) -> Sequence[QueueDepth]:
        return [QueueDepth(queue=each, ready=1) for each in queues]


def test_it_has_a_worker_started_again_that_stands_still() -> None:
    restarted = Restarted()
    handler = ListHandler(Waiting())
    with WorkerWatch("app.handlers", [handler], silent_after=0.5, supervisor=restarted) as watch:
        worker_reports.write(
            watch.folder, f"{os.getpid()}.json", report(time.monotonic() + 60, room_since=0.0)
        )
        until(lambda: restarted, "that it is started again")
        assert "it has taken none for" in watch.verdict["problems"][-1]
    assert restarted[0] == "list"


def test_one_that_was_itself_stopped_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    restarted = Restarted()
    now = [0.0]
    monkeypatch.setattr("fastapi_events.cli.worker_watch.time.monotonic", lambda: now[0])
    watch = a_watch(restarted)
    os.makedirs(watch.folder)
    worker_reports.write(watch.folder, f"{os.getpid()}.json", report(0.0, pid=os.getpid()))

    for now[0] in (0.0, 600.0, 601.0):  # the machine was asleep, and the worker has not reported yet
        watch._look()
    assert restarted == []
    for now[0] in (625.0, 650.0, 675.0):
        watch._look()
    assert restarted == ["list"]


def test_a_folder_that_others_may_write_into_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"fastapi-events-{os.getuid()}").mkdir()
    (tmp_path / f"fastapi-events-{os.getuid()}").chmod(0o777)

    with pytest.raises(ConfigurationError, match="TMPDIR"), a_watch(Restarted()):
        pass


def test_a_start_and_a_stop_are_no_reason_to_worry(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Restarted()
    watch = a_watch(supervisor)
    os.makedirs(watch.folder)
    caplog.set_level("INFO", logger="fastapi_events.cli.worker_watch")

    def looks(**changes: Any) -> None:
        told = report(time.monotonic(), pid=os.getpid(), **changes)
        worker_reports.write(watch.folder, f"{os.getpid()}.json", told)
        watch._look()

    watch._look()
    looks(booted=False)
    looks()
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("INFO", f"The workers are not ready: list, pid {os.getpid()}: it does not consume yet."),
        ("INFO", "The workers are ready."),
    ]

    looks(stopped=["events"])
    assert caplog.records[-1].levelname == "WARNING"
    caplog.clear()

    supervisor.is_stopping = True
    os.unlink(f"{watch.folder}/{os.getpid()}.json")
    watch._look()
    assert watch.verdict["problems"] == ["list: no worker has started yet"]
    assert caplog.records == []
