from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from fastapi_events.embedded import binary
from fastapi_events.embedded.__main__ import main

from .conftest import Python, eventually, is_running

pytestmark = pytest.mark.valkey

MODULE = "fastapi_events.embedded"


def server_pid(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_alone_it_runs_the_server_until_a_signal(
    tmp_path: Path, python: Callable[..., Python], number: int
) -> None:
    runner = python("", "--dir", tmp_path, module=MODULE)
    url = runner.read_line()
    assert (tmp_path / "url").read_text().strip() == url
    pid = server_pid(url)

    runner.process.send_signal(number)

    assert runner.finish() == ("", "", 0)
    assert not is_running(pid)
    assert not (tmp_path / "url").exists()


def test_alone_it_fails_when_the_server_ends_by_itself(tmp_path: Path, python: Callable[..., Python]) -> None:
    runner = python("", "--dir", tmp_path, module=MODULE)
    with redis.Redis.from_url(runner.read_line()) as client:
        client.shutdown(nosave=True, force=True)

    out, error, code = runner.finish()

    assert (out, code) == ("", 1)
    assert error.startswith("The server ended with the exit code 0.")


def test_a_command_gets_the_url_and_gives_the_exit_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = """import os, sys, redis
client = redis.Redis.from_url(os.environ["FASTAPI_EVENTS_BROKER_URL"])
print(client.ping(), sys.argv[1:])
sys.exit(7)"""

    # When the command has options and a `--` of its own
    code = main(["--dir", str(tmp_path), "--", sys.executable, "-c", script, "--dir", "x", "--", "y"])

    assert code == 7
    assert capfd.readouterr().out == "True ['--dir', 'x', '--', 'y']\n"
    assert not (tmp_path / "url").exists()


def test_a_command_that_a_signal_ended_counts_as_in_a_shell(tmp_path: Path) -> None:
    assert main(["--dir", str(tmp_path), "--", "sh", "-c", "kill -9 $$"]) == 128 + signal.SIGKILL


def test_sigterm_is_handed_on_to_the_command(tmp_path: Path, python: Callable[..., Python]) -> None:
    script = 'trap "exit 5" TERM; echo ready; while :; do sleep 0.02; done'
    runner = python("", "--dir", tmp_path, "--", "sh", "-c", script, module=MODULE)
    assert runner.read_line() == "ready"

    runner.process.terminate()

    assert runner.finish() == ("", "", 5)


def test_the_server_s_end_during_the_command_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = """import os, redis
client = redis.Redis.from_url(os.environ["FASTAPI_EVENTS_BROKER_URL"])
pid = client.info("server")["process_id"]
os.kill(pid, 9)
while os.path.exists(f"/proc/{pid}") if os.path.exists("/proc") else False: pass"""

    assert main(["--dir", str(tmp_path), "--", sys.executable, "-c", script]) == 0

    assert "The server ended before" in capfd.readouterr().err


def test_a_killed_runner_takes_the_server_along(tmp_path: Path, python: Callable[..., Python]) -> None:
    runner = python("", "--dir", tmp_path, module=MODULE)
    pid = server_pid(runner.read_line())

    runner.process.kill()

    eventually(lambda: not is_running(pid))


def test_a_command_that_does_not_exist_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--dir", str(tmp_path), "--", "no-such-command"]) == 127
    assert "no-such-command cannot be run: No such file" in capfd.readouterr().err


def test_a_busy_port_is_an_error_of_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        assert main(["--dir", str(tmp_path), "--port", str(port)]) == 1

    assert capfd.readouterr().err == f"Port {port} of 127.0.0.1 is in use: choose another one, or 0.\n"


def test_without_a_binary_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(binary, "_candidates", lambda: iter([]))

    assert main(["--dir", str(tmp_path)]) == 1

    assert "pip install 'fastapi-events[embedded]'" in capfd.readouterr().err
