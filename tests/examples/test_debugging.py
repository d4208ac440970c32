"""The page on debugging stops where it says, in the process that has the terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.examples.run_page import blocks

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "debugging.md"


def test_a_breakpoint_in_a_function_can_be_answered(tmp_path: Path) -> None:
    for title, code, _ in blocks(PAGE):
        if title:
            (tmp_path / title).parent.mkdir(exist_ok=True)
            (tmp_path / title).write_text(code.replace("    print(", "    breakpoint()\n    print(", 1))
    (tmp_path / "debug.py").write_text((tmp_path / "debug.py").read_text().replace("    breakpoint()\n", ""))

    run = subprocess.run(
        [sys.executable, "debug.py"], cwd=tmp_path, input="p number\nc\n", capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip

    shown = [line.removeprefix("(Pdb) ") for line in run.stdout.splitlines()]
    # Python 3.13 and later stop at `breakpoint()` itself, and not at the next line.
    stops_at = "breakpoint()" if sys.version_info >= (3, 13) else 'print("cooking", number)'
    assert shown[1:] == [
        f"-> {stops_at}", "7", "cooking 7", "<Run: What ran: shop.handlers.cook.>",
    ], run.stdout + run.stderr  # fmt: skip
