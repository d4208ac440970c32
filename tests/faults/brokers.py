"""Servers of a test's own, which it can kill, freeze and start again."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Generator
from pathlib import Path
from typing import Any

import redis

from fastapi_events.embedded import EmbeddedServer
from tests.ports import free_port
from tests.rabbitmq import Node

_HOSTS = 25
"""Of a node, one for each row; each costs it a hundredth of a second whenever it starts."""


class Broker(ABC):
    """A broker, started and answering."""

    name: str
    url: str
    port: int

    @abstractmethod
    def start(self) -> None:
        """Start it (again), on the same port and files."""

    @abstractmethod
    def kill(self) -> None:
        """Kill it, with whatever it has not written yet."""

    @abstractmethod
    def signal(self, number: int) -> None:
        """Send it a signal."""

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind."""

    def url_through(self, port: int) -> str:
        """Its URL for those who go through a proxy."""
        return self.url.replace(f":{self.port}", f":{port}")

    def freeze(self) -> None:
        """Let it accept connections and never answer: the kernel does the former."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def restart(self) -> None:
        self.kill()
        self.start()


class Valkey(Broker):
    """Valkey, with an append-only file."""

    name = "valkey"

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedServer(folder, port=free_port())
        self._server.startup()
        self.url = self._server.url
        self.port = int(self.url.rsplit(":", 1)[1].split("/")[0])

    def start(self) -> None:
        self._server.startup()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self._server.wait(10) is not None

    def signal(self, number: int) -> None:
        assert self._server.pid is not None
        os.kill(self._server.pid, number)

    def close(self) -> None:
        with contextlib.suppress(AssertionError, ProcessLookupError):  # the test may have killed it
            self.thaw()
        self._server.shutdown()

    def client(self) -> Any:
        """A connection past any proxy."""
        return redis.Redis.from_url(self.url, decode_responses=True)


class RabbitMQ(Broker):
    """A virtual host of a RabbitMQ that serves one row after the other: seconds sooner than a node for each.

    What the processes of an ended row have left in theirs does not reach those of others. Only one row at
    a time uses the node, so that it may kill and freeze it.
    """

    name = "rabbitmq"

    def __init__(self, node: Node, host: str) -> None:
        self._node = node
        self.url = f"{node.url}{host}"
        self.port = node.port

    def start(self) -> None:
        self._node.start()

    def kill(self) -> None:
        self._node.kill()

    def signal(self, number: int) -> None:
        self._node.signal(number)

    def alarm(self, *, on: bool) -> None:
        """Let it be short of memory, or have plenty again."""
        self._node.alarm(on=on)

    def close(self) -> None:
        """Leave the node to the next row as this one has found it."""
        if self._node.is_running:
            self.thaw()
        else:
            self._node.start()


def virtual_hosts(folder: Path) -> Generator[RabbitMQ, None, None]:
    """One virtual host after the other, of nodes that end with the generator."""
    with contextlib.ExitStack() as nodes:  # a row may ask for two, of which the second is of the next node
        for number in itertools.count():
            names = [f"shop-{number}-{host}" for host in range(_HOSTS)]
            node = Node(folder / f"node-{number}", hosts=names)
            nodes.callback(node.close)
            node.start()
            for name in names:
                yield RabbitMQ(node, name)
