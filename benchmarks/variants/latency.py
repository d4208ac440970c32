"""How soon a function begins after a request, in worker processes under their engine's own command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from in_process import event_loop
from payload import NAME
from worker import command_of, end, staging_of

_PATIENCE_SECONDS = 120
_OVER = "measured"
_TICKS = os.sysconf("SC_CLK_TCK")

Figures = dict[str, float]


@contextmanager
def idle(
    url: str, engine: str, ours: bool, events: int, rest: float, queue: str, processes: int = 1
) -> Iterator[Callable[[int], Figures]]:
    """Seconds from the end of a response to the function's first line, with nothing else going on.

    Parameters:
        events: How many make a round; a second or so is between two, when Dramatiq's looks least often.
        rest: Seconds for which nothing at all happens, to see what an idle worker costs.
        processes: How many worker processes there are.
    """

    # They are under way at once, and due one by one.
    delays = [1.0 + 0.37 * number for number in range(max(3, events // 4))]

    async def moments() -> AsyncIterator[None]:
        for _ in range(events):
            await asyncio.sleep(random.uniform(0.8, 1.6))
            yield

    with _Engine.running(url, engine, ours=ours, queue=queue, processes=processes) as running:

        def run(_: int) -> Figures:
            late = running.late(moments())
            delayed = statistics.median(running.late_after(delays))
            cost = running.cost_of_idling(rest) if rest else {}
            return {
                "seconds": statistics.median(late), "slowest": max(late), "delayed": delayed, **cost,
            }  # fmt: skip

        yield run


@contextmanager
def under_load(
    url: str, engine: str, ours: bool, rate: float, events: int, queue: str, hops: int = 1
) -> Iterator[Callable[[int], Figures]]:
    """The same while requests come at a rate, counted from when each is due.

    Parameters:
        hops: Over how many messages the plain way goes.
    """

    async def moments() -> AsyncIterator[None]:
        began = time.monotonic()
        for number in range(events):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            yield

    with _Engine.running(url, engine, ours=ours, queue=queue, hops=hops) as running:

        def run(_: int) -> Figures:
            late = sorted(running.late(moments(), from_the_start=True))
            return {"seconds": statistics.median(late), "p99": late[int(len(late) * 0.99)]}

        yield run


class _Engine:
    """A web process, which is this one, and its workers."""

    def __init__(self, url: str, record: Path, process: subprocess.Popen[bytes], ours: bool) -> None:
        import latency_functions as functions

        self._url = url
        self._record = record
        self._process = process
        self._sent: dict[int, float] = {}
        self._number = 0
        self._app = self._ours(functions.handler) if ours else self._plain(functions.bare)

    @classmethod
    @contextmanager
    def running(
        cls, url: str, engine: str, *, ours: bool, queue: str, processes: int = 1, hops: int = 1
    ) -> Iterator[_Engine]:
        """Start them, and wait until a function has run."""
        if url.startswith("redis"):
            with redis.Redis.from_url(url) as client:
                client.flushdb()
        with tempfile.TemporaryDirectory() as folder, event_loop() as loop:
            record = Path(folder) / "record"
            record.touch()
            bench = {
                "url": url, "engine": engine, "ours": ours, "queue": queue, "record": str(record),
                "hops": hops,
            }  # fmt: skip
            os.environ["BENCH"] = json.dumps(bench)
            consumed = ["-Q", queue] if engine == "celery" else []
            process = subprocess.Popen(
                [sys.executable, "-m", *command_of(engine, "latency_functions", processes), *consumed],
                cwd=Path(__file__).parent, stdout=sys.stderr, start_new_session=True,
            )  # fmt: skip
            try:
                running = cls(url, record, process, ours)
                running._loop = loop
                running._warm_up(processes)
                yield running
            finally:
                end(process)

    _loop: asyncio.AbstractEventLoop

    def late(
        self,
        moments: AsyncIterator[None],
        *,
        from_the_start: bool = False,
        patience: float = _PATIENCE_SECONDS,
    ) -> list[float]:
        """Seconds by which functions have begun after the requests of these moments."""

        async def requests() -> list[int]:
            numbers = []
            async for _ in moments:
                self._number += 1
                numbers.append(self._number)
                began = time.monotonic()
                await self._app({"type": "http", "number": self._number, "headers": []}, _receive, _send)
                self._sent[self._number] = began if from_the_start else self._sent[self._number]
                # What a handler does after the response goes on beside the next request.
                await asyncio.sleep(0)
            await asyncio.sleep(0.2)
            return numbers

        numbers = self._loop.run_until_complete(requests())
        begun = self._begun(numbers, patience)
        return [begun[number] - self._sent[number] for number in numbers]

    def late_after(self, delays: Sequence[float]) -> list[float]:
        """Seconds by which functions have begun after the time for which their events were held back."""
        due = {}

        async def requests() -> None:
            for delay in delays:
                self._number += 1
                due[self._number] = time.monotonic() + delay
                scope = {"type": "http", "number": self._number, "headers": [], "delay": delay}
                await self._app(scope, _receive, _send)
            await asyncio.sleep(0.2)

        self._loop.run_until_complete(requests())
        time.sleep(max(delays))
        begun = self._begun(list(due), _PATIENCE_SECONDS)
        return [begun[number] - when for number, when in due.items()]

    def cost_of_idling(self, seconds: float) -> Figures:
        """What the workers ask of the processor, as a share of one, and of Redis, in commands a second."""
        time.sleep(1.5)  # the last message's own consequences
        processor, began = self._processor(), time.monotonic()
        with self._counted_commands() as commands:
            time.sleep(seconds)
        lasted = time.monotonic() - began
        return {
            "processor": (self._processor() - processor) / lasted,
            "commands": len(commands) / lasted,
        }

    def _ours(self, handler: Any) -> Any:
        from fastapi_events.dispatcher import dispatch
        from fastapi_events.middleware import EventHandlerASGIMiddleware

        async def app(scope: Any, receive: Any, send: Any) -> None:
            dispatch(NAME, payload=scope["number"], delay=scope.get("delay"))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            self._sent[scope["number"]] = time.monotonic()

        return EventHandlerASGIMiddleware(app, handlers=[handler])

    def _plain(self, bare: Any) -> Any:
        is_celery = hasattr(bare, "delay")
        send = bare.delay if is_celery else bare.send

        async def app(scope: Any, *_: Any) -> None:
            number, delay = scope["number"], scope.get("delay")
            self._sent[number] = time.monotonic()
            if delay is None:
                send(number)
            elif is_celery:
                bare.apply_async((number,), countdown=delay)
            else:
                bare.send_with_options(args=(number,), delay=round(delay * 1000))

        return app

    def _warm_up(self, processes: int) -> None:
        """Until a function has run, and the other processes have had the time to start."""

        async def once() -> AsyncIterator[None]:
            yield

        for _ in range(12):
            # While many processes start, the broker may be too slow for a flush, whose event is lost then.
            with contextlib.suppress(TimeoutError):
                self.late(once(), patience=_PATIENCE_SECONDS / 12)
                break
        else:
            raise TimeoutError("no worker has begun a function")
        time.sleep(1.0 + 0.5 * processes)
        for _ in range(3):
            self.late(once())

    def _begun(self, numbers: list[int], patience: float) -> dict[int, float]:
        deadline = time.monotonic() + patience
        while True:
            lines = (line.split() for line in self._record.read_text().splitlines())
            begun = {int(number): float(when) for number, when in lines}
            if all(number in begun for number in numbers):
                return begun
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(numbers)} sent, {len(begun)} have begun")
            time.sleep(0.05)

    def _processor(self) -> float:
        """Seconds that the processes of the workers' session have worked so far."""
        spent = 0.0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if int(fields[3]) == self._process.pid:
                spent += (int(fields[11]) + int(fields[12])) / _TICKS
        return spent

    @contextmanager
    def _counted_commands(self) -> Iterator[list[str]]:
        """The commands that clients send to the workers' database meanwhile, without those of scripts."""
        seen: list[str] = []
        if not self._url.startswith("redis"):
            yield seen
            return

        def watch(monitor: Any) -> None:
            while True:
                each = monitor.next_command()
                if each["command"] == f"ECHO {_OVER}":
                    return
                if each["client_type"] != "lua" and each["db"] == int(self._url.rpartition("/")[2]):
                    seen.append(each["command"])

        with redis.Redis.from_url(self._url, socket_timeout=None) as client, client.monitor() as monitor:
            watching = threading.Thread(target=watch, args=[monitor])
            watching.start()
            yield seen
            with redis.Redis.from_url(staging_of(self._url)) as other:
                other.echo(_OVER)
            watching.join()


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Any) -> None: ...
