"""The deployment in `workers/` under its engine's own command line, with the settings of one variant.

Its processes live as long as a turn: those of other variants would look for messages meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import redis
from payload import PAYLOAD
from worker import queues, staging_of
from worker_settings_functions import NOTHING, PIPE, RECORD, SLOW, WAITING

_PATIENCE_SECONDS = 120.0
_BATCH = 10
_ENOUGH = 600
"""Messages, of which no worker may fetch all."""
_BEGUN = 12
_BURST = 30

Figures = dict[str, float]


@contextmanager
def working_off(
    url: str, engine: str, arguments: Sequence[str], environ: Mapping[str, str], processes: int, calls: int
) -> Iterator[Callable[[int], Figures]]:
    """Seconds for each event, with a function that does nothing and one that waits; then what prefetch costs.

    That is how long a burst of slow functions takes, in seconds, and how many messages a killed worker held.

    Parameters:
        arguments: What follows the command.
        environ: Variables that configure it.
        processes: How many run functions; a round begins when all of them do.
        calls: How many events make a round.
    """
    os.environ["FASTAPI_EVENTS_BROKER_URL"] = staging_of(url)
    handler = import_module(f"workers.{engine}").events
    with tempfile.TemporaryDirectory() as folder:
        pipe = Path(folder) / "calls"
        os.mkfifo(pipe)
        made = {"FASTAPI_EVENTS_BROKER_URL": url, "FASTAPI_EVENTS_HANDLERS": "worker_settings_functions"}
        command = [sys.executable, "-m", *arguments]
        told = os.open(pipe, os.O_RDWR)  # for writing as well, lest it end between two workers

        def run(_: int) -> Figures:
            turn = _Turn(url, handler, told)
            process = subprocess.Popen(
                command, env={**os.environ, **made, **environ, PIPE: str(pipe)},
                cwd=Path(__file__).parent, stdout=sys.stderr, start_new_session=True,
            )  # fmt: skip
            try:
                turn.warm_up(processes)
                seconds = {name: turn.work_off(name, calls) / calls for name in (NOTHING, WAITING)}
                burst = turn.work_off(SLOW, _BURST)
                turn.fill(SLOW, _ENOUGH)
                turn.wait_for(_BEGUN)  # by then all batches have been fanned out
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            return {**seconds, "burst": burst, "held": turn.held()}

        try:
            yield run
        finally:
            os.close(told)


class _Turn:
    """What waits for the workers of one turn, and what they have done of it."""

    def __init__(self, url: str, handler: Any, told: int) -> None:
        self._handler = handler
        self._told = told
        self._database = int(url.rpartition("/")[2])
        self._workers = redis.Redis.from_url(url)
        self._staging = redis.Redis.from_url(staging_of(url))
        self._workers.flushdb()
        os.set_blocking(told, False)
        while self._read():  # what the killed workers of the turn before have written
            pass

    def warm_up(self, processes: int) -> None:
        """Wait until so many processes have run a function."""
        seen: set[int] = set()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while len(seen) < processes:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {len(seen)} of {processes} processes work")
            self.fill(WAITING, 10 * _BATCH)
            seen.update(self.wait_for(10 * _BATCH))

    def work_off(self, name: str, calls: int) -> float:
        """Seconds until so many events have been published beforehand, fanned out and handled."""
        began = self.fill(name, calls)
        self.wait_for(calls)
        return time.perf_counter() - began

    def fill(self, name: str, calls: int) -> float:
        """Put events before the workers all at once; when that was."""
        self._staging.flushdb()
        asyncio.run(self._publish(name, calls))
        self._wait_until_empty()
        began = time.perf_counter()
        for key in queues(self._staging):
            if not self._staging.move(key, self._database):
                raise RuntimeError(f"{key!r} is there already")
        return began

    def wait_for(self, calls: int) -> list[int]:
        """Wait for so many calls; the processes that made them."""
        found = b""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while len(found) < calls * RECORD.size:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not done; left: {self._workers.keys()}")
            found += self._read()
            time.sleep(0.001)  # reading each as it is written would cost the workers a processor
        return [pid for (pid,) in struct.iter_unpack(RECORD.format, found)]

    def held(self) -> float:
        """How many messages the killed workers had taken, and not acknowledged."""
        sets = self._workers.scan_iter(match="*__acks__*")
        return float(sum(self._workers.scard(key) for key in sets) + self._workers.hlen("unacked"))

    async def _publish(self, name: str, calls: int) -> None:
        from fastapi_events.event import Event

        for _ in range(calls // _BATCH):
            await self._handler.handle_many([Event(name, PAYLOAD) for _ in range(_BATCH)])

    def _wait_until_empty(self) -> None:
        # The last message is acknowledged after its function has told us.
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while queues(self._workers):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not acknowledged: {self._workers.keys()}")
            time.sleep(0.005)

    def _read(self) -> bytes:
        try:
            return os.read(self._told, 65_536)
        except BlockingIOError:
            return b""
