"""A web process under load: what it delivers, and how late its event loop gets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import redis
from in_process import event_loop
from outage import broken_broker

_CONNECTIONS = 16
_PATIENCE_SECONDS = 120.0

_POST = b"POST / HTTP/1.1\r\nhost: cats.example\r\ncontent-length: 0\r\n\r\n"
_FIGURES = b"GET /figures HTTP/1.1\r\nhost: cats.example\r\n\r\n"


@contextmanager
def under_load(lag_rate: float, lag_seconds: float, **options: Any) -> Iterator[Callable[[int], Any]]:
    """Two measurements a round: all that the process can do, and its lag at a rate that every variant bears.

    Parameters:
        lag_rate: Requests per second while the lag is measured.
        lag_seconds: How long.
        options: For the application.
    """
    client = redis.Redis.from_url(options["url"])
    with served(**options) as port, event_loop() as loop:

        async def run(requests: int) -> dict[str, float]:
            found = {
                "seconds": await _delivered(port, requests, options["events"]) / requests,
                **await _lag(port, lag_rate, lag_seconds),
            }
            client.flushdb()  # nobody will read it
            return found

        loop.run_until_complete(run(_CONNECTIONS))  # connections are made, caches filled
        yield lambda operations: loop.run_until_complete(run(operations))


@contextmanager
def in_outage(
    fault: str, seconds: float, rate: float, settle: float, **options: Any
) -> Iterator[Callable[[int], Any]]:
    """The memory of a process whose broker is away, once its buffer has filled.

    Parameters:
        rate: Events per second.
        settle: Seconds until memory is looked at for the first time.
    """
    with broken_broker(fault) as url, served(url=url, **options) as port, event_loop() as loop:
        yield lambda _: loop.run_until_complete(_outage(port, seconds, rate / options["events"], settle))


@contextmanager
def served(**options: Any) -> Iterator[int]:
    """The application in a uvicorn process; gives its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "web_app:app", "--port", str(port), "--no-access-log",
         "--log-level", "critical", "--loop", "precise_loop:new_loop", "--http", "h11"],
        env={**os.environ, "BENCH": json.dumps(options)},
        cwd=Path(__file__).parent,
    )  # fmt: skip
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _delivered(port: int, requests: int, events: int) -> float:
    """Seconds until so many requests have been answered and their events delivered."""
    already = (await figures(port))["delivered"]
    expected = already + requests * (events or 1)
    left = iter(range(requests))
    began = time.perf_counter()

    async def client() -> None:
        async with connection(port) as ask:
            for _ in left:
                await ask(_POST)

    await asyncio.gather(*(client() for _ in range(min(_CONNECTIONS, requests))))
    while (await figures(port))["delivered"] < expected:
        if time.perf_counter() - began > _PATIENCE_SECONDS:
            raise TimeoutError(f"{await figures(port)}: {expected} were to be delivered")
        await asyncio.sleep(0.002)
    return time.perf_counter() - began


async def _lag(port: int, rate: float, seconds: float) -> dict[str, float]:
    await figures(port)  # forgets what was before
    await _offer(port, rate, seconds)
    found = await figures(port)
    return {"lag": found["lag"], "worst_lag": found["worst_lag"]}


async def _offer(port: int, rate: float, seconds: float) -> None:
    """Requests at a steady rate, whether or not those before have been answered."""
    waiting: asyncio.Queue[None] = asyncio.Queue()

    async def client() -> None:
        async with connection(port) as ask:
            while True:
                await waiting.get()
                await ask(_POST)

    clients = [asyncio.create_task(client()) for _ in range(_CONNECTIONS)]
    began = time.perf_counter()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        waiting.put_nowait(None)
    for each in clients:
        each.cancel()
    await asyncio.gather(*clients, return_exceptions=True)


async def _outage(port: int, seconds: float, rate: float, settle: float) -> dict[str, float]:
    began = await figures(port)
    pid = int(began["pid"])
    at_start = resident(pid)
    await _offer(port, rate, settle)
    filled = most = resident(pid)
    pending = 0.0
    for _ in range(round(seconds - settle)):
        await _offer(port, rate, 1.0)
        pending = max(pending, (await figures(port))["pending"])
        most = max(most, resident(pid))
    await asyncio.sleep(2.0)  # the deadline of the last flushes passes
    found = await figures(port)
    return {
        "filling": (filled - at_start) / 2**20,
        "growth": (most - filled) / 2**20,
        "pending": pending,
        "lost": found["lost"],
        "unaccounted": max(0.0, found["dispatched"] - found["delivered"] - found["lost"]),
        "lag": found["lag"],
    }


def resident(pid: int) -> int:
    """Bytes of memory that a process occupies; Linux tells."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no memory")


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[Callable[[bytes], Any]]:
    """A kept-alive connection; what it gives sends a request and returns the body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def ask(request: bytes) -> bytes:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if b" 20" not in head[:13]:
            raise RuntimeError(head.decode())
        return await reader.readexactly(int(length or 0))

    try:
        yield ask
    finally:
        writer.close()


async def figures(port: int) -> dict[str, float]:
    """What the process says about itself since it was asked last."""
    async with connection(port) as ask:
        found: dict[str, float] = json.loads(await ask(_FIGURES))
    return found


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError("the web process ended")
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("the web process does not answer")
