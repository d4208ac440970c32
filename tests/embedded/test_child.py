from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from fastapi_events.embedded.child import ChildProcess

from .conftest import Python, eventually, is_running

Start: TypeAlias = Callable[..., ChildProcess]

SLEEP = ["sleep", "1000"]

# Writes the pids of itself and of a process of its own, then waits.
FAMILY = ["sh", "-c", 'sleep 1000 & echo $$ $! > "$0.tmp"; mv "$0.tmp" "$0"; wait']

PARENT = """
import sys, os, time
from fastapi_events.embedded.child import ChildProcess
child = ChildProcess(sys.argv[2:], grace=0.2)
child.startup()
if sys.argv[1] == "fork" and os.fork() == 0:
    print(os.getpid(), flush=True)
    time.sleep(1000)
elif sys.argv[1] == "alone":
    print(flush=True)
time.sleep(1000)
"""


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts commands as children, and ends those that a failing test leaves behind."""
    started: list[ChildProcess] = []

    def start(command: list[str], **settings: Any) -> ChildProcess:
        started.append(ChildProcess(command, **settings))
        started[-1].startup()
        return started[-1]

    yield start
    for child in started:
        child.shutdown()


def pids(file: Path) -> list[int]:
    eventually(file.exists)
    return [int(each) for each in file.read_text().split()]


def test_a_command_gets_its_environment_and_gives_its_exit_code() -> None:
    child = ChildProcess(["sh", "-c", 'exit "$CODE"'], env={"CODE": "3"})
    assert (child.pid, child.exit_code) == (0, None)

    child.startup()

    assert child.pid > 0
    assert child.wait(30) == 3
    assert child.exit_code == 3


def test_a_command_that_cannot_be_run_says_so_at_once() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-command"):
        ChildProcess(["no-such-command"]).startup()
    with pytest.raises(PermissionError):
        ChildProcess(["/"]).startup()


def test_shutdown_takes_the_child_s_children_along(tmp_path: Path, start: Start) -> None:
    child = start([*FAMILY, str(tmp_path / "pids")])
    family = pids(tmp_path / "pids")

    assert child.shutdown() == -signal.SIGTERM

    assert not any(map(is_running, family))


def test_what_ignores_sigterm_is_killed_after_the_grace_time(tmp_path: Path, start: Start) -> None:
    ready = tmp_path / "ready"
    child = start(["sh", "-c", 'trap "" TERM; touch "$0"; sleep 1000', str(ready)], grace=0.1)
    eventually(ready.exists)

    assert child.shutdown() == -signal.SIGKILL


def test_a_command_tells_its_children_of_a_signal_itself(tmp_path: Path, start: Start) -> None:
    # Dramatiq's master does; were its workers signalled by us as well, they would be in a hurry.
    def shell(name: str) -> str:
        """It says when it has been told, and when its trap is set, before which a signal would end it."""
        told, ready = f'touch "$0/{name}.told"', f'touch "$0/{name}.ready"'
        return f"trap '{told}' USR1; {ready}; while :; do sleep 0.02; done"

    child = start(["sh", "-c", f"({shell('inner')}) & {shell('outer')}", str(tmp_path)])
    eventually((tmp_path / "inner.ready").exists)
    eventually((tmp_path / "outer.ready").exists)

    child.send_signal(signal.SIGUSR1)

    eventually((tmp_path / "outer.told").exists)
    assert child.shutdown() == -signal.SIGTERM
    assert not (tmp_path / "inner.told").exists()


def test_a_stopped_child_hears_of_the_end(tmp_path: Path, start: Start) -> None:
    child = start(SLEEP, grace=1000.0)
    os.kill(child.pid, signal.SIGSTOP)

    assert child.shutdown() == -signal.SIGTERM


def test_what_a_killed_child_leaves_behind_is_ended_too(tmp_path: Path, start: Start) -> None:
    child = start([*FAMILY, str(tmp_path / "pids")])
    family = pids(tmp_path / "pids")

    os.kill(child.pid, signal.SIGKILL)

    assert child.wait(30) == -signal.SIGKILL
    assert not any(map(is_running, family))


def test_the_thread_that_started_it_may_end() -> None:
    # The kernel's parent-death signal comes when a thread ends; ours must not.
    child = ChildProcess(SLEEP)
    thread = threading.Thread(target=child.startup)
    thread.start()
    thread.join()

    assert child.wait(0.2) is None
    assert is_running(child.pid)
    assert child.shutdown() == -signal.SIGTERM


def test_a_parent_with_many_open_files_can_have_children(start: Start) -> None:
    # select() takes no numbers from 1024 on; the keeper's end of the socket may have got one.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        child = start(SLEEP)
        assert child.shutdown() == -signal.SIGTERM
    finally:
        for fd in opened:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_nothing_outlives_a_killed_parent(tmp_path: Path, python: Callable[..., Python]) -> None:
    parent = python(PARENT, "alone", *FAMILY, tmp_path / "pids")
    parent.read_line()
    family = pids(tmp_path / "pids")

    parent.process.kill()

    eventually(lambda: not any(map(is_running, family)))


def test_nothing_outlives_a_killed_parent_of_which_a_fork_lives_on(
    tmp_path: Path, python: Callable[..., Python]
) -> None:
    # A fork inherits the socket by whose end the keeper knows that its parent is gone.
    parent = python(PARENT, "fork", *FAMILY, tmp_path / "pids")
    fork = int(parent.read_line())
    family = pids(tmp_path / "pids")
    try:
        parent.process.kill()

        eventually(lambda: not any(map(is_running, family)))
        assert is_running(fork)
    finally:
        os.kill(fork, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has PR_SET_PDEATHSIG")
def test_the_child_does_not_outlive_a_killed_keeper(start: Start) -> None:
    child = start(SLEEP)

    os.kill(child._keeper.pid, signal.SIGKILL)

    assert child.wait(30) == -signal.SIGKILL
    eventually(lambda: not is_running(child.pid))
