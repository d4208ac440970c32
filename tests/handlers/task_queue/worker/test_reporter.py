"""What a worker process reports."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fastapi_events.handlers.task_queue.worker.reporter import Consumption, Reporter
from fastapi_events.worker_reports import Report, reports_in
from tests.processes import until

FOLDER = "FASTAPI_EVENTS_WORKER_REPORTS"


def test_it_reports_what_it_takes_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    reporter = Reporter()
    reporter.boot("list")

    def last() -> Report | None:
        return next(iter(reports_in(str(tmp_path))), None)

    until(lambda: (found := last()) is not None and not found["booted"], "that it says it boots")
    busy = False
    reporter.consume(lambda: Consumption(queues=["events"], in_hand=3 * busy, has_room=not busy))
    until(lambda: (found := last()) is not None and found["booted"], "that it says it consumes")
    found = last()
    assert found is not None
    assert (found["pid"], found["engine"], found["in_hand"]) == (os.getpid(), "list", 0)
    assert found["room_since"] is not None

    taken_at = time.monotonic()
    reporter.took("events")
    busy = True
    until(lambda: (found := last()) is not None and found["room_since"] is None, "that it says it is busy")
    found = last()
    assert found is not None
    assert found["took"]["events"] >= taken_at

    reporter.end()
    assert list(tmp_path.iterdir()) == []


def test_where_nobody_asks_it_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    reporter = Reporter()

    reporter.boot("list")
    reporter.consume(lambda: Consumption(queues=["events"]))
    reporter.took("events")

    assert reporter._state.get().thread is None
    reporter.end()
