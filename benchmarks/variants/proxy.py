"""A TCP proxy that delays: what lies between a web process and a broker that is not next to it.

    python benchmarks/variants/proxy.py TARGET_PORT DELAY_MS

It prints its port. Bytes keep their order, and each chunk arrives half of the delay after it was sent, in
either direction. It ends with its stdin.
"""

from __future__ import annotations

import asyncio
import collections
import sys

from precise_loop import new_loop


class Direction(asyncio.Protocol):
    """Passes on what it receives, later."""

    def __init__(self, delay: float) -> None:
        self.other: asyncio.Transport | None = None
        self.transport: asyncio.Transport | None = None
        self._delay = delay
        self._early: collections.deque[bytes] = collections.deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        # Timers of one loop fire in the order in which they are due: bytes keep theirs.
        asyncio.get_running_loop().call_later(self._delay, self._pass_on, data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None:
            asyncio.get_running_loop().call_later(self._delay, self.other.close)

    def join(self, other: asyncio.Transport) -> None:
        """Begin to pass on, with what has come before."""
        self.other = other
        while self._early:
            other.write(self._early.popleft())

    def _pass_on(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        else:
            self.other.write(data)


async def serve(target: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    joining: set[asyncio.Task[None]] = set()

    async def join(here: Direction) -> None:
        _, there = await loop.create_connection(lambda: Direction(delay), "127.0.0.1", target)
        assert here.transport is not None
        assert there.transport is not None
        there.join(here.transport)
        here.join(there.transport)

    class Incoming(Direction):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            task = loop.create_task(join(self))
            joining.add(task)
            task.add_done_callback(joining.discard)

    server = await loop.create_server(lambda: Incoming(delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how its starter gets to know
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    new_loop().run_until_complete(serve(int(sys.argv[1]), float(sys.argv[2]) / 2_000))
