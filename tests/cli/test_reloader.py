"""Workers end when their code has changed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from fastapi_events.cli.reloader import Reloader
from fastapi_events.embedded import Backoff, Supervisor
from fastapi_events.errors import ConfigurationError
from tests.processes import until


def test_a_changed_file_has_the_children_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor(backoff=Backoff(first=0.01))
    supervisor.add("worker", [sys.executable, "-c", "import time; time.sleep(100)"])
    number = 0

    def is_restarted() -> bool:  # the watch may not have begun when the first file changes
        nonlocal number
        number += 1
        (tmp_path / "code.py").write_text(f"x = {number}\n")
        return supervisor.children["worker"].restarts > 0

    with supervisor, Reloader(supervisor, [str(tmp_path)]):
        until(is_restarted, "that the child is started again")

    assert supervisor.children["worker"].exit_code == -signal.SIGTERM


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere: there is no such folder"):
        Reloader(cast("Any", None), [str(tmp_path / "nowhere")])
