"""The example of an engine does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_orders_are_cooked_at_the_second_attempt_and_the_bill_is_kept(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.custom_engine"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert run.returncode == 0, run.stdout + run.stderr
    assert sorted(run.stdout.splitlines()) == [
        "examples.custom_engine.shop.bill was given up: ValueError: no till",
        "examples.custom_engine.shop.bill was given up: ValueError: no till",
        "order 1 is cooked",
        "order 1 is served",
        "order 2 is cooked",
        "order 2 is served",
    ]
