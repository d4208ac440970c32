"""`fastapi-events relay` publishes until it is told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("json_", [False, True])
def test_it_runs_until_a_signal_and_says_for_whom(app: Any, number: int, json_: bool) -> None:
    options = ["--json"] if json_ else []
    process = subprocess.Popen(
        [sys.executable, "-m", "fastapi_events", "relay", "shop_events:events", *options],
        stderr=subprocess.PIPE, text=True, cwd=Path(app.__file__).parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(number)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()

    said = json.loads(line)["message"] if json_ else line
    assert said.strip().endswith("Relaying for list:events")


def test_a_handler_with_nothing_to_relay_is_a_wrong_question(run: Any) -> None:
    ran = run("relay", "shop_events:bare")

    assert ran.code == 2
    assert "There is nothing to relay" in ran.err
