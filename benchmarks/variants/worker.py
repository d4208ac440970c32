"""Worker processes under their engine's own command line, and how fast they work off what waits.

A round's messages are made beforehand, by the engine's own calls into a database next to the workers'. They
are moved there at once, so that making them is not measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from payload import NAME, PAYLOAD

_PATIENCE_SECONDS = 120
_DONE = "bench-done"
_THREADS = 8

_COMMANDS = {
    "dramatiq": ["dramatiq", "worker_functions", "--processes", "1", "--threads", str(_THREADS)],
    "celery": [
        "celery", "-A", "worker_functions", "worker", "--pool", "threads", "--concurrency", str(_THREADS),
        "--loglevel", "CRITICAL", "--without-mingle", "--without-gossip", "--without-heartbeat",
    ],
}  # fmt: skip


@contextmanager
def working_off(
    url: str,
    engine: str,
    ours: bool,
    calls: int,
    mode: str = "bare",
    dependency: bool = False,
    transport: bool = False,
) -> Iterator[Callable[[int], dict[str, float]]]:
    """Seconds until the workers have made all calls, and the processor time of the server, both per call.

    Parameters:
        calls: How many make a round.
        mode: `bare` is the engine's own message for each event, `perform` ours to a subscription, `both` a
            batch of ten that has to be fanned out first.
        dependency: Whether our function is async and has a dependency.
        transport: Whether Celery speaks to Redis by our transport.
    """
    # No timeout: a round is waited for by one command.
    workers = redis.Redis.from_url(url, socket_timeout=None)
    staging = redis.Redis.from_url(staging_of(url))
    workers.flushdb()
    options = {
        "engine": engine, "ours": ours, "calls": calls, "dependency": dependency, "transport": transport,
    }  # fmt: skip
    os.environ["BENCH"] = json.dumps({**options, "url": staging_of(url)})
    import worker_functions

    def fill() -> None:
        staging.flushdb()
        if mode == "bare":
            send = worker_functions.bare.delay if engine == "celery" else worker_functions.bare.send
            for _ in range(calls):
                send(NAME, PAYLOAD)
        else:
            _fill_with_ours(worker_functions.handler, calls, mode)

    def run(_: int) -> dict[str, float]:
        fill()
        busy = _busy(workers)
        began = time.perf_counter()
        for key in queues(staging):
            if not staging.move(key, int(url.rpartition("/")[2])):
                raise RuntimeError(f"{key!r} is there already")
        if workers.blpop([_DONE], timeout=_PATIENCE_SECONDS) is None:
            raise TimeoutError(f"not done; left: {workers.keys()}")
        seconds = (time.perf_counter() - began) / calls
        return {"seconds": seconds, "broker": (_busy(workers) - busy) / calls}

    environ = {
        **os.environ,
        "BENCH": json.dumps({**options, "url": url}),
        "dramatiq_worker_timeout": "50",  # an idle worker looks often, so that a round begins at once
    }
    consumed = ["-Q", "events,celery"] if engine == "celery" else []
    process = subprocess.Popen(
        [sys.executable, "-m", *_COMMANDS[engine], *consumed],
        env=environ, cwd=Path(__file__).parent, stdout=sys.stderr, start_new_session=True,
    )  # fmt: skip
    try:
        run(1)  # by then they have started
        yield run
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _fill_with_ours(handler: Any, calls: int, mode: str) -> None:
    from fastapi_events import envelope
    from fastapi_events.event import Event

    async def publish(events: list[Any]) -> None:
        await handler.handle_many(events)

    for _ in range(calls // 10):
        events = [Event(NAME, PAYLOAD) for _ in range(10)]
        if mode == "both":
            asyncio.run(publish(events))
        else:
            handler.fan_out(f"[{','.join(envelope.seal(each, source='bench') for each in events)}]")


def queues(client: Any) -> list[bytes]:
    """The keys that hold messages; others are the engines' own bookkeeping."""
    return [
        key for key in client.scan_iter() if b"__" not in key and not key.startswith((b"_kombu", b"unacked"))
    ]


def _busy(client: Any) -> float:
    """Seconds that the server's processor has worked so far."""
    spent = client.info("cpu")
    return float(spent["used_cpu_user"] + spent["used_cpu_sys"])


def staging_of(url: str) -> str:
    server, _, database = url.rpartition("/")
    return f"{server}/{int(database) + 1}"
