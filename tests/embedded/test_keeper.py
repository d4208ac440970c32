"""What the keeper says and does, spoken to on its socket as `child.py` speaks to it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastapi_events.embedded import keeper

from .conftest import eventually, is_running


class Spoken:
    """A keeper, and our end of its socket."""

    def __init__(self, *command: str, grace: float = 10.0, parent: int | None = None) -> None:
        self.socket, its_end = socket.socketpair()
        self.socket.settimeout(30)
        with its_end:
            arguments = (its_end.fileno(), parent or os.getpid(), grace)
            # With `site`, unlike `child.py`: what measures how much of it is run, starts from there.
            self.process = subprocess.Popen(
                [sys.executable, keeper.__file__, *map(str, arguments), *command],
                pass_fds=[its_end.fileno()],
            )
        self._lines = self.socket.makefile("r")

    def hears(self) -> str:
        return self._lines.readline().strip()

    def close(self) -> None:
        self._lines.close()
        self.socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def spoken() -> Iterator[list[Spoken]]:
    """Keepers of the test, which end with it."""
    started: list[Spoken] = []
    yield started
    for each in started:
        each.close()


def start(spoken: list[Spoken], *command: str, **settings: float) -> Spoken:
    spoken.append(Spoken(*command, **settings))  # type: ignore[arg-type]
    return spoken[-1]


def test_it_says_what_it_runs_and_how_that_has_ended(spoken: list[Spoken]) -> None:
    it = start(spoken, "sh", "-c", "exit 3")

    assert it.hears().startswith("pid ")
    assert it.hears() == "exit 3"
    assert it.process.wait(30) == 0


def test_a_command_that_cannot_be_run_is_said_by_its_number(spoken: list[Spoken]) -> None:
    assert start(spoken, "no-such-command").hears() == f"error {errno.ENOENT}"
    assert start(spoken, "/").hears() == f"error {errno.EACCES}"


def test_each_byte_is_a_signal_for_the_command(spoken: list[Spoken]) -> None:
    it = start(spoken, "sleep", "1000")
    it.hears()

    it.socket.send(bytes([signal.SIGTERM]))

    assert it.hears() == f"exit {-signal.SIGTERM}"


def test_sigkill_is_for_the_whole_group(spoken: list[Spoken], tmp_path: Path) -> None:
    it = start(spoken, "sh", "-c", 'trap "" TERM; sleep 1000 & echo $! > "$0.new"; mv "$0.new" "$0"; wait',
               str(tmp_path / "pid"))  # fmt: skip
    it.hears()
    eventually((tmp_path / "pid").exists)

    it.socket.send(bytes([signal.SIGKILL]))

    assert it.hears() == f"exit {-signal.SIGKILL}"
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_the_end_of_the_socket_ends_the_command(spoken: list[Spoken]) -> None:
    it = start(spoken, "sleep", "1000")
    pid = int(it.hears().split()[1])

    it.socket.shutdown(socket.SHUT_RDWR)

    eventually(lambda: not is_running(pid))


def test_what_does_not_end_in_its_grace_is_killed(spoken: list[Spoken], tmp_path: Path) -> None:
    it = start(spoken, "sh", "-c", 'trap "" TERM; touch "$0"; while :; do sleep 0.02; done',
               str(tmp_path / "deaf"), grace=0.1)  # fmt: skip
    pid = int(it.hears().split()[1])
    eventually((tmp_path / "deaf").exists)

    it.socket.shutdown(socket.SHUT_WR)

    assert it.hears() == f"exit {-signal.SIGKILL}"
    assert not is_running(pid)


def test_a_parent_that_is_another_by_now_ends_the_command(spoken: list[Spoken]) -> None:
    spoken.append(Spoken("sleep", "1000", parent=1))  # as if ours had ended, and a fork held its socket
    it = spoken[-1]
    it.hears()

    assert it.hears() == f"exit {-signal.SIGTERM}"


def test_a_signal_to_the_keeper_ends_the_command(spoken: list[Spoken]) -> None:
    it = start(spoken, "sleep", "1000")
    it.hears()

    it.process.send_signal(signal.SIGHUP)

    assert it.hears() == f"exit {-signal.SIGTERM}"
