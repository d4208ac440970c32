"""Crash points: a named one ends the process like kill -9, all others do nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fastapi_events.failpoints import crash_point

CRASH_AT = "FASTAPI_EVENTS_CRASH_AT"

# What a process that is ended at once never does: leave its blocks, flush its output, run its exit hooks.
PROGRAM = """
import atexit
from fastapi_events.failpoints import crash_point

atexit.register(print, "exit hook")
print("before", end=" ")
try:
    crash_point("relay.after_publish")
finally:
    print("after", end=" ")
"""


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path), **environment},
    )


def test_the_process_ends_at_the_point_that_is_named_and_says_nothing() -> None:
    ended = run(FASTAPI_EVENTS_CRASH_AT="relay.after_publish")

    assert (ended.returncode, ended.stdout, ended.stderr) == (137, "", "")


@pytest.mark.parametrize("named", ["relay", ""])
def test_it_goes_on_at_any_other_point(named: str) -> None:
    ended = run(FASTAPI_EVENTS_CRASH_AT=named)

    assert (ended.returncode, ended.stdout) == (0, "before after exit hook\n")


def test_what_is_not_named_on_import_does_nothing_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CRASH_AT, "relay.after_publish")

    crash_point("relay.after_publish")
