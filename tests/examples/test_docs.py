"""What stands in the README and the documentation runs as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.run_page import blocks

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.valkey
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, valkey_url: str) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "tests/examples/run_page.py"), str(page), valkey_url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr


def test_the_files_that_a_page_shows_can_be_imported(tmp_path: Path, valkey_url: str) -> None:
    code = (
        f"import sys; sys.path[:0] = ['.', {str(ROOT)!r}]; from pathlib import Path\n"
        f"from tests.examples.run_page import main; main(Path({str(ROOT / 'README.md')!r}), {valkey_url!r})\n"
        "import app.web, app.handlers"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr


def test_every_page_is_found() -> None:
    assert len(PAGES) > 8
