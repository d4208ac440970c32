from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from fastapi_events.embedded import EmbeddedServer, binary
from fastapi_events.errors import ConfigurationError

from .conftest import Python, eventually, is_running

pytestmark = pytest.mark.valkey

RUNNER = """
import sys, time
from fastapi_events.embedded import EmbeddedServer
server = EmbeddedServer(sys.argv[1])
server.startup()
print(server.pid, server.url, flush=True)
time.sleep(1000)
"""


def push(url: str, *values: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.rpush("queue", *values)


def pushed(url: str) -> list[str]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return client.lrange("queue", 0, -1)


def test_data_survives_a_shutdown(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        push(server.url, "a", "b")

    with EmbeddedServer(tmp_path) as server:
        assert pushed(server.url) == ["a", "b"]


def test_data_survives_the_death_of_the_server(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        url, first_pid = server.url, server.pid
        push(url, *map(str, range(1000)))
        assert first_pid is not None

        os.kill(first_pid, signal.SIGKILL)
        assert server.wait(30) == -signal.SIGKILL
        server.startup()

        assert server.url == url  # whoever was connected finds it again
        assert server.pid != first_pid
        assert pushed(url) == list(map(str, range(1000)))


def test_memory_that_is_full_refuses_and_does_not_evict(tmp_path: Path) -> None:
    with (
        EmbeddedServer(tmp_path) as server,
        redis.Redis.from_url(server.url, decode_responses=True) as client,
    ):
        assert client.config_get("maxmemory-policy", "appendonly", "appendfsync", "save", "bind") == {
            "maxmemory-policy": "noeviction",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "bind": "127.0.0.1",
        }


def test_the_url_stands_in_the_directory_while_the_server_runs(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "made" / "on the 'way'") as server:
        assert (server.data_dir / "url").read_text() == f"{server.url}\n"
        assert server.url.startswith("redis://127.0.0.1:")

    assert not (server.data_dir / "url").exists()
    with pytest.raises(ConfigurationError, match="before startup"):
        _ = server.url


def test_shutdown_leaves_no_process_and_may_come_twice(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    server.startup()
    pid = server.pid
    assert pid is not None

    server.shutdown()
    server.shutdown()

    assert not is_running(pid)
    assert server.pid is None


def test_a_second_runner_on_the_same_directory_is_refused(
    tmp_path: Path, python: Callable[..., Python]
) -> None:
    with EmbeddedServer(tmp_path) as server:
        with pytest.raises(ConfigurationError, match=f"{tmp_path} is in use by .* pid {os.getpid()}:"):
            EmbeddedServer(tmp_path).startup()
        _, error, code = python(RUNNER, tmp_path).finish()

        assert code == 1
        assert f"{tmp_path} is in use by the process with the pid {os.getpid()}:" in error
        # And the refused one has left everything in place.
        assert (tmp_path / "url").read_text() == f"{server.url}\n"
        push(server.url, "still here")


def test_starting_twice_is_refused(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server, pytest.raises(ConfigurationError, match="running already"):
        server.startup()


def test_the_server_dies_with_a_killed_parent_and_its_directory_is_free_at_once(
    tmp_path: Path, python: Callable[..., Python]
) -> None:
    parent = python(RUNNER, tmp_path)
    pid, url = parent.read_line().split()
    push(url, "a")

    parent.process.kill()
    parent.process.wait()

    # The lock is the dying server's until its end: the next one waits, rather than write to the same file.
    with EmbeddedServer(tmp_path) as server:
        assert not is_running(int(pid))
        assert pushed(server.url) == ["a"]


def test_a_forgotten_shutdown_leaves_nothing_behind(tmp_path: Path, python: Callable[..., Python]) -> None:
    out, _, code = python(RUNNER.replace("time.sleep(1000)", ""), tmp_path).finish()

    assert code == 0
    eventually(lambda: not is_running(int(out.split()[0])))


def test_a_locale_that_is_not_installed_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_YY.UTF-8")

    with EmbeddedServer(tmp_path) as server:
        push(server.url, "a")


def test_a_data_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigurationError, match=f"{path} is not a directory"):
            EmbeddedServer(path).startup()


def test_a_lock_that_cannot_be_opened_is_an_error_that_names_the_directory(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()

    with pytest.raises(ConfigurationError, match=f"{tmp_path} cannot be locked"):
        EmbeddedServer(tmp_path).startup()


def test_a_port_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="port=65536"):
        EmbeddedServer(tmp_path, port=65536)


def test_a_busy_port_is_refused_and_the_directory_given_back(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(ConfigurationError, match=f"Port {port} of 127.0.0.1 is in use"):
            EmbeddedServer(tmp_path, port=port).startup()

    with EmbeddedServer(tmp_path, port=port) as server:
        assert server.url == f"redis://127.0.0.1:{port}/0"


def test_a_server_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        push(server.url, "a")
    (next((tmp_path / "appendonlydir").glob("*.manifest"))).write_text("nonsense\n")

    with pytest.raises(ConfigurationError, match=r"instead of starting in (.|\n)*manifest"):
        EmbeddedServer(tmp_path).startup()


def test_a_server_that_does_not_answer_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "valkey-server"
    silent.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\necho thinking >&2\nexec sleep 1000\n")
    silent.chmod(0o755)
    monkeypatch.setattr(binary, "_candidates", lambda: iter([silent]))

    with pytest.raises(ConfigurationError, match=r"does not answer after 0\.3 s(.|\n)*thinking"):
        EmbeddedServer(tmp_path / "data", start_timeout=0.3).startup()

    assert not is_running(int((tmp_path / "pid").read_text()))


def test_a_free_port_that_someone_else_takes_first_is_given_up_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedServer(tmp_path / "first") as first:
        taken = int(first.url.split(":")[2].removesuffix("/0"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free = probe.getsockname()[1]
        ports = iter([taken, free])
        monkeypatch.setattr("fastapi_events.embedded.probe.free_port", lambda: next(ports))

        with EmbeddedServer(tmp_path / "second") as second:
            assert second.url == f"redis://127.0.0.1:{free}/0"
