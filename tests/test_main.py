"""`python -m fastapi_events` is the command `fastapi-events`."""

from __future__ import annotations

import subprocess
import sys

from fastapi_events import __version__

COMMAND = (sys.executable, "-m", "fastapi_events")


def test_it_is_the_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "fastapi_events", "--version"], capture_output=True, text=True
    )

    assert (run.returncode, run.stdout) == (0, f"fastapi-events {__version__}\n")


def test_what_was_asked_wrongly_is_said_by_its_exit_code() -> None:
    run = subprocess.run([*COMMAND, "sing"], capture_output=True, text=True)

    assert run.returncode == 2
    assert "sing" in run.stderr
