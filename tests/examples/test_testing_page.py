"""The tests that the page on testing shows pass as they stand, in the application that it shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.examples.run_page import blocks

ROOT = Path(__file__).parents[2]


def test_the_tests_of_the_page_pass_without_a_broker(tmp_path: Path) -> None:
    shown = [(title, code) for title, code, _ in blocks(ROOT / "docs" / "testing.md") if title]
    for title, code in shown:
        file = tmp_path / title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code.replace("localhost:6379", "127.0.0.1:1"))  # where nobody is

    home = {name: value for name, value in os.environ.items() if name != "CI"}  # where files are written
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:asyncio", "tests"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, env=home,
    )  # fmt: skip

    expected = sum(code.count("\ndef test_") + code.count("\nasync def test_") for _, code in shown)
    assert f"{expected} passed" in run.stdout, run.stdout + run.stderr
