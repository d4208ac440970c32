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

_HOSTS = 40
"""Of a node: more than there are tests that ask for one; each costs it a hundredth of a second."""


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
    """RabbitMQ, a node of its own."""

    name = "rabbitmq"

    def __init__(self, folder: Path) -> None:
        self._node = Node(folder)
        self._node.start()
        self.url = self._node.url
        self.port = self._node.port

    def start(self) -> None:
        self._node.start()

    def kill(self) -> None:
        self._node.kill()

    def signal(self, number: int) -> None:
        process = self._node._process
        assert process is not None
        os.killpg(process.pid, number)

    def close(self) -> None:
        self._node.close()


class VirtualHost(Broker):
    """A virtual host of a RabbitMQ that is there already: seconds sooner than a node of one's own.

    What the processes of an ended test have left in theirs troubles nobody.
    """

    name = RabbitMQ.name

    def __init__(self, node: Node, host: str) -> None:
        self.url = f"{node.url}{host}"
        self.port = node.port

    def start(self) -> None:
        raise NotImplementedError("other tests use it, too")

    def kill(self) -> None:
        raise NotImplementedError("other tests use it, too")

    def signal(self, number: int) -> None:
        raise NotImplementedError("other tests use it, too")

    def close(self) -> None:
        pass


def virtual_hosts(folder: Path) -> Generator[VirtualHost, None, None]:
    """One virtual host after the other, of one node, which ends with the generator."""
    for number in itertools.count():
        names = [f"shop-{number}-{host}" for host in range(_HOSTS)]
        node = Node(folder / f"node-{number}", hosts=names)
        try:
            node.start()
            for name in names:
                yield VirtualHost(node, name)
        finally:
            node.close()


BROKERS: dict[str, type[Valkey] | type[RabbitMQ]] = {"valkey": Valkey, "rabbitmq": RabbitMQ}
