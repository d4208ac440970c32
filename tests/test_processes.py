"""What is known of a process by its pid."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from fastapi_events.processes import cpu_seconds, has_ended, has_gone, identity, is_alive
from tests.processes import until


def test_a_process_is_alive_until_it_has_ended() -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    assert is_alive(ended.pid)
    ended.wait()

    assert not is_alive(ended.pid)
    assert is_alive(os.getpid())
    assert is_alive(1)  # somebody else's
    assert not is_alive(2**40)  # which no system has


@pytest.mark.skipif(sys.platform != "linux", reason="CPU time is read on Linux")
def test_the_cpu_time_of_a_process_grows_as_it_computes() -> None:
    before = cpu_seconds(os.getpid())
    assert before is not None
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass

    after = cpu_seconds(os.getpid())

    assert after is not None
    assert after >= before + 0.05
    assert after == pytest.approx(time.process_time(), abs=1.0)


def test_of_one_that_has_ended_it_is_not_known() -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()

    assert cpu_seconds(ended.pid) is None


def test_a_process_has_gone_when_it_has_ended_and_its_pid_says_nothing_of_it() -> None:
    code = "from fastapi_events.processes import identity; print(identity(), flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    name = other.stdout.readline().strip()

    assert not has_gone(identity())
    assert not has_gone(name)
    assert not has_ended(other.pid)
    assert other.stdin is not None
    other.stdin.write("\n")
    other.stdin.flush()
    if sys.platform == "linux":
        until(lambda: has_ended(other.pid), "the end of a process that nobody has waited for")
        assert has_gone(name)
    other.communicate()
    assert has_gone(name)

    host, pid, started = identity().split(" ")
    assert has_gone(f"another-machine {pid} {started}")
    assert has_gone("")
    if sys.platform == "linux":
        assert has_gone(f"{host} {pid} 1")  # who had the pid before
