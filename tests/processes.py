"""A project of three files in a folder of its own, and real processes that run it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import redis

from fastapi_events.embedded import EmbeddedServer
from tests.fork_server import ForkedProcess, ForkServer
from tests.ports import free_port

PATIENCE_SECONDS = 60


class Project:
    """Files, processes, and a Redis through which they tell the test what they do."""

    def __init__(self, folder: Path, url: str, fork_server: ForkServer) -> None:
        self.folder = folder
        self.url = url
        self.redis: Any = redis.Redis.from_url(url, decode_responses=True, socket_timeout=None)
        self.processes: list[ForkedProcess | subprocess.Popen[bytes]] = []
        self._fork_server = fork_server
        self._started = 0

    def write(self, **files: str) -> None:
        """Write modules of the package `app`."""
        (self.folder / "app").mkdir(exist_ok=True)
        (self.folder / "app" / "__init__.py").touch()
        for name, text in files.items():
            text = textwrap.dedent(text).replace("redis://localhost:6379/0", self.url)
            (self.folder / "app" / f"{name}.py").write_text(text)

    def start(self, *command: str, **env: str) -> ForkedProcess:
        """Start `python -m command…` in the folder, in a process group of its own."""
        process = self._start("-m", *command, **env)
        self.processes.append(process)
        return process

    def _start(self, *command: str, **env: str) -> ForkedProcess:
        self._started += 1
        return self._fork_server.start(
            command,
            folder=self.folder,
            env=self._env(env),
            output=self.folder / f"{self._started}.log",
        )

    def _env(self, env: Mapping[str, str]) -> dict[str, str]:
        return {**os.environ, "dramatiq_worker_timeout": "50", "PYTHONPATH": str(self.folder), **env}

    def start_fresh(self, *command: str, **env: str) -> subprocess.Popen[bytes]:
        """Start a program that is no fork: of another environment, or one that patches what it imports."""
        self._started += 1
        with (self.folder / f"{self._started}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self._env(env), stdout=log, stderr=log, start_new_session=True
            )
        self.processes.append(process)
        return process

    def worker(self, *arguments: str) -> ForkedProcess:
        """Start `dramatiq app.handlers`."""
        return self.start("dramatiq", "app.handlers", "--processes", "1", "--threads", "4", *arguments)

    def dispatch(self, name: str, payload: Any = None) -> None:
        """Dispatch an event from a script of its own, as a cron job would."""
        self.run(
            "from app.events import events; from fastapi_events.dispatcher import dispatch;"
            "from fastapi_events.scope import collect_events\n"
            f"with collect_events([events], raise_errors=True): dispatch({name!r}, {payload!r})"
        )

    def run(self, code: str) -> None:
        """Run a script in the folder, to its end."""
        exit_code = self.wait(self._start("-c", code))
        assert exit_code == 0, f"the script has failed\n{code}\n{self.logs()}"

    def told(self, key: str) -> str:
        """The next thing that a process has told by `rpush(key, …)`."""
        answer = self.redis.blpop([key], timeout=PATIENCE_SECONDS)
        assert answer is not None, f"nobody told {key!r}\n{self.logs()}"
        return str(answer[1])

    def logs(self) -> str:
        """What all processes have printed."""
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')}" for log in sorted(self.folder.glob("*.log"))
        )

    def kill_group(self, process: ForkedProcess | subprocess.Popen[bytes], number: int) -> None:
        """Send a signal to a process and its children."""
        os.killpg(process.pid, number)

    def wait(self, process: ForkedProcess | subprocess.Popen[bytes]) -> int:
        """Wait for the process to end by itself."""
        return process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    self.kill_group(process, signal.SIGKILL)
                process.wait(PATIENCE_SECONDS)
        self.redis.close()


@contextlib.contextmanager
def a_project(folder: Path, fork_server: ForkServer) -> Iterator[Project]:
    """A project with a server of its own, whose processes end with the block."""
    with EmbeddedServer(folder / "valkey", port=free_port()) as server:
        project = Project(folder, server.url, fork_server)
        try:
            yield project
        finally:
            project.close()


def until(condition: Any, what: str) -> None:
    """Wait until a condition holds; fail with its name when it does not in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)
