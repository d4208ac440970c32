"""A Valkey with a replica, and a sentinel that watches both."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import redis

from fastapi_events.embedded.binary import find_binary
from tests.ports import free_port
from tests.processes import until

MASTER = "shop"


class Servers:
    """A master, its replica and a sentinel, as processes of their own.

    Parameters:
        folder: Theirs.
        stack: What ends them.
        password: What each of them asks for; nothing if not given.
    """

    def __init__(self, folder: Path, stack: ExitStack, *, password: str | None = None) -> None:
        self._folder = folder
        self._stack = stack
        self._password = password
        self.master = free_port()
        self.replica = free_port()
        self.sentinel = free_port()
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        locked = ("--requirepass", password, "--masterauth", password) if password else ()
        self._start(self.master, *locked)
        self._start(self.replica, "--replicaof", "127.0.0.1", str(self.master), *locked)
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.sentinel}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {self.master} 1\n"
            f"sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 2000\n"
            + (f"sentinel auth-pass {MASTER} {password}\nrequirepass {password}\n" if password else "")
        )
        self._run(self.sentinel, str(config), "--sentinel")
        until(lambda: self.client(self.replica).info()["master_link_status"] == "up", "the replica to follow")
        until(lambda: self.known_to_sentinel()["num-slaves"] == 1, "Sentinel to know the replica")

    def client(self, port: int) -> redis.Redis:
        """A client of one of them, which is closed with the servers."""
        return self._stack.enter_context(
            redis.Redis(host="127.0.0.1", port=port, password=self._password, socket_timeout=5)
        )

    def known_to_sentinel(self) -> dict[str, Any]:
        """What the sentinel says of the master."""
        return dict(self.client(self.sentinel).sentinel_masters()[MASTER])

    def kill_master(self) -> None:
        """Kill the first master; the sentinel chooses the replica by and by."""
        self.processes[self.master].kill()

    def has_failed_over(self) -> bool:
        """Whether the sentinel leads to the replica."""
        return bool(self.known_to_sentinel()["port"] == self.replica)

    def _start(self, port: int, *options: str) -> None:
        self._run(port, "--port", str(port), "--bind", "127.0.0.1", "--save", "", *options)

    def _run(self, port: int, *arguments: str) -> None:
        process = subprocess.Popen(
            [str(find_binary()), *arguments], cwd=self._folder, stdout=subprocess.DEVNULL
        )
        self.processes[port] = process
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        until(lambda: self._answers(port), "the server to answer")

    def _answers(self, port: int) -> bool:
        with suppress(redis.RedisError):
            return bool(self.client(port).ping())
        return False
