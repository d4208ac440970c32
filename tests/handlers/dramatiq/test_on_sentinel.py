"""A client that Sentinel tells where the master is: events are published to whichever it is."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from dramatiq.brokers.redis import RedisBroker
from redis.sentinel import Sentinel

from fastapi_events.embedded.binary import find_binary
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.dramatiq import DramatiqHandler
from tests.ports import free_port
from tests.processes import until

MASTER = "shop"


class Servers:
    """A master, its replica and a sentinel, as processes of their own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.master = free_port()
        self.replica = free_port()
        self.sentinel = free_port()
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._start(self.master)
        self._start(self.replica, "--replicaof", "127.0.0.1", str(self.master))
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.sentinel}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {self.master} 1\n"
            f"sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 2000\n"
        )
        self._run(self.sentinel, str(config), "--sentinel")
        until(lambda: self.client(self.replica).info()["master_link_status"] == "up", "the replica to follow")
        until(lambda: self.known_to_sentinel()["num-slaves"] == 1, "Sentinel to know the replica")

    def client(self, port: int) -> redis.Redis:
        return self._stack.enter_context(redis.Redis(host="127.0.0.1", port=port, socket_timeout=5))

    def known_to_sentinel(self) -> dict[str, Any]:
        return dict(self.client(self.sentinel).sentinel_master(MASTER))

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


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path, stack)


@pytest.mark.valkey
def test_events_go_to_the_master_and_to_the_next_one_when_it_has_died(servers: Servers) -> None:
    sentinel = Sentinel([("127.0.0.1", servers.sentinel)], socket_timeout=1.0)
    handler = DramatiqHandler(RedisBroker(client=sentinel.master_for(MASTER)), queue="sentinel")

    asyncio.run(handler.publish([Event("before")]))
    servers.client(servers.master).wait(1, 5_000)
    servers.processes[servers.master].kill()
    until(lambda: servers.known_to_sentinel()["port"] == servers.replica, "another master")
    asyncio.run(handler.publish([Event("after")]))

    assert servers.client(servers.replica).llen("dramatiq:sentinel") == 2


class OwnPool(redis.ConnectionPool):
    def __init__(self, place: str, **settings: Any) -> None:
        super().__init__(**settings)


def test_a_pool_that_cannot_be_made_once_more_is_refused_with_the_handler() -> None:
    broker = RedisBroker(client=redis.Redis(connection_pool=OwnPool("here")))

    with pytest.raises(ConfigurationError, match="OwnPool"):
        DramatiqHandler(broker)
