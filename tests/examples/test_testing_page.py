"""The tests that pages show pass as they stand, in the application that they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.run_page import blocks

ROOT = Path(__file__).parents[2]
SKILL = ROOT / "fastapi_events" / ".agents" / "skills" / "fastapi-events" / "SKILL.md"
PAGES = {ROOT / "docs" / "testing.md": 18, ROOT / "docs" / "extending.md": 22, SKILL: 2}

# Does what the sessions of a page show, and compares what is printed.
SESSIONS = """
import contextlib, io, re, pathlib
import shop.handlers

STEP = r"^>>> (.*\\n(?:\\.\\.\\. .*\\n)*)((?:(?!>>> ).*\\n)*)"


def said(code, names):
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        try:
            exec(compile(code, "page", "single"), names)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return shown.getvalue().rstrip()


def test_sessions(worker, client):
    names = {**vars(shop.handlers), "client": client, "worker": worker}
    for session in pathlib.Path("sessions.txt").read_text().split("\\0"):
        for code, expected in re.findall(STEP, session, re.MULTILINE):
            assert said(code.replace("\\n... ", "\\n"), names) == expected.rstrip(), code
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tests_of_a_page_pass_without_a_broker(page: Path, tmp_path: Path) -> None:
    configuration = re.findall(r'```toml title="([^"]+)"\n(.*?)```', page.read_text(), re.DOTALL)
    shown = [*configuration, *((title, code) for title, code, _ in blocks(page) if title)]
    command = [sys.executable, "-m", "pytest"]
    if (
        configuration
    ):  # by which the bare command, which leaves the folder out of the path, finds the application
        command = [str(Path(sys.executable).with_name("pytest"))]
    for title, code in shown:
        file = tmp_path / title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code.replace("localhost:6379", "127.0.0.1:1"))  # where nobody is

    sessions = re.findall(r"```pycon\n(.*?)```", page.read_text(), re.DOTALL)
    if sessions:
        (tmp_path / "sessions.txt").write_text("\0".join(sessions))
        (tmp_path / "tests" / "test_sessions.py").write_text(SESSIONS)
    home = {name: value for name, value in os.environ.items() if name != "CI"}  # where files are written
    run = subprocess.run(
        [*command, "-W", "error", "-q", "-p", "no:asyncio", "tests"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, env=home,
    )  # fmt: skip

    [passed] = re.findall(r"^(\d+) passed in", run.stdout, re.MULTILINE) or ["none"]
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(passed) >= PAGES[page]
