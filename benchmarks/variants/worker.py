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
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from payload import NAME, PAYLOAD

_PATIENCE_SECONDS = 120
_DONE = "bench-done"
_THREADS = 8


def command_of(engine: str, module: str, processes: int = 1) -> list[str]:
    """The engine's own command for workers whose functions a module has, eight threads in each process."""
    if engine == "dramatiq":
        return ["dramatiq", module, "--processes", str(processes), "--threads", str(_THREADS)]
    return [
        "celery", "-A", module, "worker", "--pool", "threads", "--concurrency", str(_THREADS),
        "--loglevel", "CRITICAL", "--without-mingle", "--without-gossip", "--without-heartbeat",
        # On RabbitMQ a queue is named after the node, and no other worker may have it.
        "--hostname", f"bench-{os.getpid()}@%h",
    ]  # fmt: skip


def end(process: subprocess.Popen[bytes]) -> None:
    """End a command that was started in a session of its own, gracefully if it does so in time."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def working_off(
    url: str,
    engine: str,
    ours: bool,
    calls: int,
    mode: str = "bare",
    dependency: bool = False,
    transport: bool = False,
    batch: int = 10,
    once: bool | str = False,
    keys: int = 0,
    journal: bool = False,
) -> Iterator[Callable[[int], dict[str, float]]]:
    """Seconds until the workers have made all calls, and the processor time of the server, both per call.

    Parameters:
        calls: How many make a round.
        mode: `bare` is the engine's own message for each event, `by hand` one of its own with a batch, of
            whose events a task sends each on; `perform` is ours to a subscription, `both` a batch that has to
            be fanned out first.
        dependency: Whether our function is async and has a dependency.
        transport: Whether Celery speaks to Redis by our transport.
        batch: How many events a flush of ours has.
        once: Whether our function remembers in Redis what it has completed; `by hand`, if it does so itself.
        keys: How many ordering keys the events have, with lanes in the same Redis; none if 0.
        journal: Whether what happens to the events is written into a journal in the same Redis.
    """
    # No timeout: a round is waited for by one command.
    workers = redis.Redis.from_url(url, socket_timeout=None)
    staging = redis.Redis.from_url(staging_of(url))
    workers.flushdb()
    options = {
        "engine": engine, "ours": ours, "calls": calls, "dependency": dependency, "transport": transport,
        "once": once, "keys": keys, "journal": journal,
    }  # fmt: skip
    os.environ["BENCH"] = json.dumps({**options, "url": staging_of(url)})
    import worker_functions

    def fill() -> None:
        staging.flushdb()
        if ours:
            _fill_with_ours(worker_functions.handler, calls, mode, batch, keys)
        else:
            _fill_with_theirs(worker_functions, calls, mode, batch)

    def run(_: int) -> dict[str, float]:
        fill()
        with staging.pipeline(transaction=False) as pipeline:  # nobody is told of them yet
            for key in lanes(staging):
                pipeline.move(key, int(url.rpartition("/")[2]))
            pipeline.execute()
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
        [sys.executable, "-m", *command_of(engine, "worker_functions"), *consumed],
        env=environ, cwd=Path(__file__).parent, stdout=sys.stderr, start_new_session=True,
    )  # fmt: skip
    try:
        run(1)  # by then they have started
        yield run
    finally:
        end(process)


@contextmanager
def working_off_rabbitmq(
    url: str, told: str, engine: str, ours: bool, calls: int, queue: str, mode: str, batch: int = 10
) -> Iterator[Callable[[int], dict[str, float]]]:
    """Seconds a call, as above, on RabbitMQ, where messages cannot be moved: workers stand still meanwhile.

    Parameters:
        told: A Redis that hears when a round is over.
    """
    hears = redis.Redis.from_url(told, socket_timeout=None)
    hears.flushdb()
    options = {"engine": engine, "ours": ours, "calls": calls, "dependency": False, "transport": False}
    options["queue"] = queue
    os.environ["BENCH"] = json.dumps({**options, "url": url, "told": told})
    import worker_functions

    def run(_: int) -> dict[str, float]:
        os.killpg(process.pid, signal.SIGSTOP)
        if ours:
            _fill_with_ours(worker_functions.handler, calls, mode, batch)
        else:
            _fill_with_theirs(worker_functions, calls, mode, batch)
        began = time.perf_counter()
        os.killpg(process.pid, signal.SIGCONT)
        if hears.blpop([_DONE], timeout=_PATIENCE_SECONDS) is None:
            raise TimeoutError("not done")
        return {"seconds": (time.perf_counter() - began) / calls}

    consumed = ["-Q", queue] if engine == "celery" else []
    with _worker(engine, consumed) as process:
        run(1)
        yield run


@contextmanager
def with_backlog(
    url: str, engine: str, ours: bool, waiting: int, calls: int
) -> Iterator[Callable[[int], dict[str, float]]]:
    """Seconds a call while so many messages wait behind it, and the memory of the worker.

    The worker stands still between rounds, and while the queue is filled up; its first calls of a round are
    not counted.
    """
    hears = redis.Redis.from_url(url, socket_timeout=None)
    hears.flushdb()
    options = {"engine": engine, "ours": ours, "calls": calls, "dependency": False, "transport": True}
    os.environ["BENCH"] = json.dumps({**options, "url": url})
    import worker_functions

    queue = "dramatiq:events" if engine == "dramatiq" else "events" if ours else "celery"

    def fill() -> None:
        missing = waiting - hears.llen(queue)
        if ours:
            _fill_with_ours(worker_functions.handler, missing, "perform", 100)
        elif missing > 0:
            _fill_with_copies(hears, queue, missing, worker_functions)

    def run(_: int) -> dict[str, float]:
        os.killpg(process.pid, signal.SIGSTOP)
        fill()
        hears.delete(_DONE)
        os.killpg(process.pid, signal.SIGCONT)
        moments = []
        for _ in range(2):
            if hears.blpop([_DONE], timeout=_PATIENCE_SECONDS) is None:
                raise TimeoutError("not done")
            moments.append(time.perf_counter())
        os.killpg(process.pid, signal.SIGSTOP)  # else it would work while others are measured
        return {"seconds": (moments[1] - moments[0]) / calls, "memory": _resident(process.pid) / 2**20}

    fill()
    consumed = ["-Q", "events,celery"] if engine == "celery" else []
    with _worker(engine, consumed) as process:
        run(1)
        yield run


@contextmanager
def _worker(engine: str, consumed: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker in a session of its own, which may be stopped inside of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command_of(engine, "worker_functions"), *consumed],
        cwd=Path(__file__).parent, stdout=sys.stderr, start_new_session=True,
    )  # fmt: skip
    try:
        time.sleep(3)  # a process that stands still before it has set its signals up may never go on
        yield process
    finally:
        os.killpg(process.pid, signal.SIGCONT)
        end(process)


def _resident(session: int) -> float:
    """Bytes of memory that the processes of a session occupy."""
    pages = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == session:
            pages += int(fields[21])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def _fill_with_ours(handler: Any, calls: int, mode: str, batch: int, keys: int = 0) -> None:
    from fastapi_events import envelope
    from fastapi_events.event import Event

    async def publish() -> None:
        for begin in range(0, calls - batch + 1, batch):
            events = [Event(NAME, PAYLOAD) for _ in range(batch)]
            for number, event in enumerate(events, begin):
                event.ordering_key = str(number % keys) if keys else None
            await handler.handle_many(events)

    if mode == "both":
        asyncio.run(publish())
        return
    for _ in range(calls // batch):
        events = [Event(NAME, PAYLOAD) for _ in range(batch)]
        handler.worker.fan_out(f"[{','.join(envelope.seal(each, source='bench') for each in events)}]")


def _fill_with_theirs(functions: Any, calls: int, mode: str, batch: int) -> None:
    by_hand = mode == "by hand"
    task = functions.hand_on if by_hand else functions.bare
    send = getattr(task, "delay", None) or task.send
    for _ in range(calls // batch if by_hand else calls):
        if by_hand:
            send([(NAME, PAYLOAD)] * batch)
        else:
            send(NAME, PAYLOAD)


def _fill_with_copies(client: Any, queue: str, count: int, functions: Any) -> None:
    """Messages to a bare actor or task, like the one that it makes: a `send()` for each takes too long."""
    if functions.app is None:
        functions.bare.send(NAME, PAYLOAD)
        known = client.lpop(queue)
        made = client.hget(f"{queue}.msgs", known)
        client.hdel(f"{queue}.msgs", known)
        tag = json.loads(made)["message_id"]
    else:
        functions.bare.delay(NAME, PAYLOAD)
        made = client.lpop(queue)
        known, tag = json.loads(made)["headers"]["id"], json.loads(made)["properties"]["delivery_tag"]
    known = known if isinstance(known, bytes) else known.encode()
    with client.pipeline(transaction=False) as pipeline:
        for _ in range(count):
            id_ = str(uuid.uuid4()).encode()
            text = made.replace(known, id_).replace(tag.encode(), str(uuid.uuid4()).encode())
            if functions.app is None:
                pipeline.hset(f"{queue}.msgs", id_, text)
            pipeline.rpush(queue, id_ if functions.app is None else text)
            if len(pipeline) >= 1_000:
                pipeline.execute()
        pipeline.execute()


def queues(client: Any) -> list[bytes]:
    """The keys that hold messages; others are the engines' own bookkeeping."""
    return [
        key
        for key in client.scan_iter()
        if b"__" not in key and not key.startswith((b"_kombu", b"unacked", b"fastapi_events", b"{"))
    ]


def lanes(client: Any) -> list[bytes]:
    """The keys that hold events with an ordering key."""
    return sorted(set(client.scan_iter("*}:lane:*", count=1_000)))  # a scan may give a key twice


def _busy(client: Any) -> float:
    """Seconds that the server's processor has worked so far."""
    spent = client.info("cpu")
    return float(spent["used_cpu_user"] + spent["used_cpu_sys"])


def staging_of(url: str) -> str:
    server, _, database = url.rpartition("/")
    return f"{server}/{int(database) + 1}"
