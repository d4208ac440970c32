"""A RabbitMQ node of a test's own, which it can stop and start again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pika

from tests.ports import free_port

START_SECONDS = 60
DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def server_program() -> str | None:
    """Where `rabbitmq-server` is, past Debian's wrapper, which would change to another user."""
    return str(DEBIAN) if DEBIAN.exists() else shutil.which("rabbitmq-server")


def has_virtual_host(url: str) -> bool:
    """Whether the server has the virtual host that its URL names."""
    try:
        pika.BlockingConnection(pika.URLParameters(url)).close()
    except pika.exceptions.ConnectionClosedByBroker:
        return False
    return True


class Node:
    """A node with ports, files and a port mapper of its own.

    Parameters:
        hosts: Names of virtual hosts that it has beside the default one.
    """

    def __init__(self, folder: Path, *, hosts: Sequence[str] = ()) -> None:
        self.folder = folder
        self.folder.mkdir()
        ports: set[int] = set()
        while len(ports) < 3:
            ports.add(free_port())
        self.port, distribution, mapper = ports
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        (folder / "enabled_plugins").write_text("[].")
        for name in ("rabbitmq.conf", "rabbitmq-env.conf"):
            (folder / name).touch()
        if hosts:
            (folder / "definitions.json").write_text(json.dumps(_definitions(["/", *hosts])))
            (folder / "rabbitmq.conf").write_text(f"load_definitions = {folder / 'definitions.json'}\n")
        self._mapper = mapper
        self._process: subprocess.Popen[bytes] | None = None
        self._env = {
            **os.environ,
            "HOME": str(folder),
            "PATH": f"{DEBIAN.parent}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "RABBITMQ_NODENAME": f"fastapi-events-test-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_RELAXED_COMMAND_CHECK": "true",  # it ends whatever it believes to live
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_SCHEMA_DIR": str(folder / "schema"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),
        }

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = server_program()
        assert program is not None
        log = (self.folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            [program], env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            told = (self.folder / "server.log").read_text()[-2_000:]
            assert self._process.poll() is None, f"RabbitMQ has ended\n{told}"
            assert time.monotonic() < deadline, f"RabbitMQ does not answer\n{told}"
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill it as a power cut would, with whatever it has not written yet."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(START_SECONDS)
            self._process = None

    @property
    def is_running(self) -> bool:
        """Whether its process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to it and to its children."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def alarm(self, *, on: bool) -> None:
        """Let it be short of memory, so that it takes nothing, or let it have plenty again."""
        share = "0.000001" if on else "0.6"
        program = DEBIAN.parent / "rabbitmqctl" if DEBIAN.exists() else "rabbitmqctl"
        command = [str(program), "set_vm_memory_high_watermark", share]
        subprocess.run(command, env=self._env, capture_output=True, timeout=3 * START_SECONDS, check=True)

    def close(self) -> None:
        """Kill it, and its port mapper."""
        self.kill()
        command = ["epmd", "-port", str(self._mapper), "-kill"]
        subprocess.run(command, env=self._env, capture_output=True, timeout=START_SECONDS, check=False)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as probe:
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                return probe.recv(1) == b"\x01"  # a method: the server introduces itself
        except OSError:
            return False


def _definitions(hosts: Sequence[str]) -> dict[str, Any]:
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "vhosts": [{"name": name} for name in hosts],
        "users": [{"name": "guest", "password": "guest", "tags": "administrator"}],
        "permissions": [{"user": "guest", "vhost": name, **everything} for name in hosts],
    }
