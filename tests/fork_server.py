"""Processes of tests, forked from one that has imported the libraries, so that they start at once.

A fresh interpreter takes one to two seconds to import Celery, Dramatiq, what they need, and our package, and
tests that use real workers start hundreds of processes. `python -m tests.fork_server` imports it once, and
waits: each process is a fork of it, with a session, folder, environment, output and end of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

LIBRARIES = (
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.bin.worker",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.concurrency.thread",
    "dramatiq.brokers.rabbitmq",
    "dramatiq.brokers.redis",
    "dramatiq.cli",
    "fastapi",
    "kombu.transport.pyamqp",
    "kombu.transport.redis",
    "opentelemetry.trace",
    "redis.asyncio",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.dialects.sqlite",
    "uvicorn.main",
    "fastapi_events.cli",
    "fastapi_events.commit",
    "fastapi_events.handlers.celery",
    "fastapi_events.handlers.dramatiq.redis_broker",
    "fastapi_events.middleware",
    "fastapi_events.storage.redis",
    "fastapi_events.storage.sqlalchemy",
)
"""What processes of tests import; nothing of it opens a connection or starts a thread."""

_ANSWER_SECONDS = 60.0


class ForkedProcess:
    """A process that the server has started: what `subprocess.Popen` is for one's own."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        if self.returncode is None:
            self.returncode = self._server.exit_code(self.pid, timeout=0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: When it does not come in so many seconds.
        """
        if self.returncode is None:
            self.returncode = self._server.exit_code(self.pid, timeout=timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The process that is forked.

    Parameters:
        also: What it imports beside the libraries.
    """

    def __init__(self, *also: str) -> None:
        self._lock = threading.Lock()
        self._ended: dict[int, int] = {}
        self._started: list[int] = []
        self._unread = b""
        self._socket, its_end = socket.socketpair()
        with its_end:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server", str(its_end.fileno()), *also],
                cwd=ROOT, pass_fds=[its_end.fileno()], start_new_session=True,
            )  # fmt: skip

    def start(
        self, command: Sequence[str], *, folder: Path, env: dict[str, str], output: Path
    ) -> ForkedProcess:
        """Start `python COMMAND…` in a folder, where COMMAND is `-m MODULE …` or `-c CODE …`."""
        order = {"command": list(command), "folder": str(folder), "env": env, "output": str(output)}
        with self._lock:
            self._socket.sendall(json.dumps(order).encode() + b"\n")
            deadline = time.monotonic() + _ANSWER_SECONDS
            while not self._started:
                assert self._read(deadline - time.monotonic()), "the server of forks does not answer"
            return ForkedProcess(self, self._started.pop())

    def exit_code(self, pid: int, *, timeout: float | None) -> int | None:
        """How a process has ended, or None if it has not within so many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while pid not in self._ended:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not self._read(left):
                    return None
            return self._ended.pop(pid)

    def close(self) -> None:
        """End it; whoever has started processes ends those."""
        self._socket.close()
        self._process.wait(_ANSWER_SECONDS)

    def _read(self, timeout: float | None) -> bool:
        """Take in what it has to say, if it says something within so many seconds."""
        if not select.select([self._socket], [], [], timeout)[0]:
            return False
        self._unread += self._socket.recv(65_536)
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            pid, exit_code = json.loads(line)
            if exit_code is None:
                self._started.append(pid)
            else:
                self._ended[pid] = exit_code
        return True


def serve(connection: socket.socket) -> dict[str, Any] | None:
    """Fork for each order, and tell of each start and end; return in a fork, with the order for it.

    Whatever still runs when nobody is at the other end any more is killed.
    """
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    unread = b""
    running: set[int] = set()
    while True:
        ready, _, _ = select.select([connection, woken], [], [])
        if woken in ready:
            woken.recv(4_096)
            for pid, status in iter(_ended, None):
                running.discard(pid)
                _tell(connection, pid, os.waitstatus_to_exitcode(status))
        if connection in ready:
            if not (received := connection.recv(65_536)):
                for pid in running:
                    os.killpg(pid, signal.SIGKILL)
                return None
            *lines, unread = (unread + received).split(b"\n")
            for line in lines:
                read, write = os.pipe()
                if not (pid := os.fork()):
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.setsid()
                    for each in (connection, woken, waker):
                        each.close()
                    os.close(read)
                    os.close(write)
                    order: dict[str, Any] = json.loads(line)
                    return order
                os.close(write)
                os.read(read, 1)  # until it has a session of its own, for signals to its group
                os.close(read)
                running.add(pid)
                _tell(connection, pid, None)


def _ended() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _tell(connection: socket.socket, pid: int, exit_code: int | None) -> None:
    with contextlib.suppress(OSError):  # nobody is there any more, as the next look will tell
        connection.sendall(json.dumps([pid, exit_code]).encode() + b"\n")


def carry_out(order: dict[str, Any]) -> None:
    """Be `python COMMAND…`, as if this process had been started for it."""
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["env"])
    if "FASTAPI_EVENTS_CRASH_AT" in order["env"]:  # which is read as the package is imported
        for name in [each for each in sys.modules if each.partition(".")[0] == "fastapi_events"]:
            del sys.modules[name]
    path = order["env"].get("PYTHONPATH", "")
    sys.path[:1] = [order["folder"], *filter(None, path.split(os.pathsep))]
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)
    how, what, *arguments = order["command"]
    sys.argv = [what if how == "-m" else how, *arguments]
    try:
        if how == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            _exit_codes.append(end.code or 0)
        raise
    _exit_codes.append(0)


_exit_codes: list[int] = []
"""How a fork ends, once that is known."""


def _leave_at_once() -> None:
    """End a fork before the interpreter takes apart what was imported: by that, all of it would be copied."""
    if _exit_codes:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it, or it is closed
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(_exit_codes[-1])


if __name__ == "__main__":
    atexit.register(_leave_at_once)  # the first of all, hence called last
    for _name in (*LIBRARIES, *sys.argv[2:]):
        importlib.import_module(_name)
    assert threading.active_count() == 1, "a fork has but the thread that makes it"
    gc.freeze()  # else each fork looks through all that has been imported, and copies it by doing so
    with socket.socket(fileno=int(sys.argv[1])) as _connection:
        _order = serve(_connection)
    if _order is not None:
        carry_out(_order)
