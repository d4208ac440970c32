"""The example of transactions does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.acceptance
@pytest.mark.valkey
def test_each_adopted_cat_is_welcomed_once(tmp_path: Path, valkey_url: str) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.transactions"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FASTAPI_EVENTS_BROKER_URL": valkey_url},
    )  # fmt: skip

    assert run.returncode == 0, run.stdout + run.stderr
    assert "spike: 422" in run.stdout
    assert "welcomes: {'tom': 1, 'toots': 1} left in the outbox: 0" in run.stdout
