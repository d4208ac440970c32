"""A directory has one user at a time, even where its holder was killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fastapi_events.embedded.lock import DirectoryLock
from fastapi_events.errors import ConfigurationError

from .conftest import Python

HOLD = """
import sys, time
from pathlib import Path
from fastapi_events.embedded.lock import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]), patience=0.0)
lock.claim()
print(flush=True)
time.sleep(1000)
"""

LEAVE_BEHIND = """
import subprocess, sys
from pathlib import Path
from fastapi_events.embedded.lock import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]), patience=0.0)
lock.claim()
left = subprocess.Popen(["sleep", sys.argv[2]], pass_fds=[lock.fileno()])
print(left.pid, flush=True)
"""


def test_the_file_names_its_owner_and_stays(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path, patience=0.0)
    lock.claim()

    assert int((tmp_path / "lock").read_text()) == os.getpid()
    assert lock.fileno() >= 0

    lock.release()
    lock.release()  # nothing is left to give back
    assert (tmp_path / "lock").exists()
    assert lock.fileno() == -1


def test_what_was_given_back_can_be_claimed_again(tmp_path: Path) -> None:
    for _ in range(2):
        lock = DirectoryLock(tmp_path, patience=0.0)
        lock.claim()
        lock.release()


def test_a_living_owner_is_named_at_once(tmp_path: Path, python: Callable[..., Python]) -> None:
    holder = python(HOLD, tmp_path)
    holder.read_line()

    with pytest.raises(ConfigurationError, match=f"in use by the process with the pid {holder.process.pid}:"):
        DirectoryLock(tmp_path, patience=1000.0).claim()


def test_a_killed_owner_leaves_it_free(tmp_path: Path, python: Callable[..., Python]) -> None:
    holder = python(HOLD, tmp_path)
    holder.read_line()
    holder.process.kill()
    holder.process.wait()

    lock = DirectoryLock(tmp_path, patience=20.0)
    lock.claim()
    lock.release()


def test_what_a_dead_owner_has_started_is_waited_for(tmp_path: Path, python: Callable[..., Python]) -> None:
    holder = python(LEAVE_BEHIND, tmp_path, "0.3")
    holder.read_line()
    holder.process.wait()

    lock = DirectoryLock(tmp_path, patience=20.0)
    lock.claim()
    lock.release()


def test_it_is_not_waited_for_beyond_patience(tmp_path: Path, python: Callable[..., Python]) -> None:
    holder = python(LEAVE_BEHIND, tmp_path, "1000")
    left = int(holder.read_line())
    holder.process.wait()
    try:
        with pytest.raises(ConfigurationError, match="in use"):
            DirectoryLock(tmp_path, patience=0.1).claim()
    finally:
        os.kill(left, 9)


@pytest.mark.parametrize("written", ["", "no pid", "9" * 40])
def test_an_owner_that_cannot_be_read_is_unknown_or_dead(
    tmp_path: Path, python: Callable[..., Python], written: str
) -> None:
    holder = python(HOLD, tmp_path)
    holder.read_line()
    (tmp_path / "lock").write_text(written)

    with pytest.raises(ConfigurationError, match=f"the pid {written[:32] or 'unknown'}"):
        DirectoryLock(tmp_path, patience=0.05).claim()


def test_a_directory_that_is_not_there_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be locked"):
        DirectoryLock(tmp_path / "missing", patience=0.0).claim()
