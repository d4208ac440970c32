"""Workers end when their code has changed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fastapi_events.cli.reloader import Reloader
from fastapi_events.errors import ConfigurationError


def test_a_changed_file_ends_the_children(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    waiting = SimpleNamespace(pid=None)  # for its next start
    supervisor = cast("Any", SimpleNamespace(children={"worker": child, "waiting": waiting}))
    try:
        with Reloader(supervisor, [str(tmp_path)]):
            for number in range(1_000):  # until the watch has begun, and sees one
                (tmp_path / "code.py").write_text(f"x = {number}\n")
                try:
                    code = child.wait(0.1)
                    break
                except subprocess.TimeoutExpired:
                    continue
    finally:
        child.kill()

    assert code == -signal.SIGTERM


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere: there is no such folder"):
        Reloader(cast("Any", None), [str(tmp_path / "nowhere")])
