"""Rows 23 and 30: hours of traffic in minutes, after which nothing has grown. `make soak` runs it.

The traffic comes in rounds. What the processes hold is taken after each: the last rounds are compared
with the first ones after the caches have filled.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

from tests.faults.brokers import Valkey
from tests.faults.conftest import Row
from tests.faults.running import Process, Shop

FAULT = "steady traffic"
MINUTES = float(os.environ.get("FASTAPI_EVENTS_SOAK_MINUTES", "0"))

pytestmark = pytest.mark.timeout(MINUTES * 60 + 400)

_WARM_UP = 4
_LEAST_ROUNDS = 12
_WEIGHED = 8
"""Orders of each round by which workers say how many objects they hold."""


def test_nothing_grows(row: Row) -> None:
    # Given a shop that uses everything: outbox, receipts, inbox, retries, dead letters
    shop = row.shop(
        handler={"confirm": "handled", "resend_after": 60.0}, options={"once": True}, pool="prefork"
    )
    worker = shop.start_worker()
    shop.start_web()
    rounds: list[dict[str, float]] = []

    # When orders come in for a long time
    until = time.monotonic() + MINUTES * 60
    while len(rounds) < _LEAST_ROUNDS or time.monotonic() < until:
        shop.place(row.events // 2)
        shop.place(5, do="raise-once")
        shop.place(_WEIGHED, do="weigh")
        assert not shop.settle().lost, shop.logs()
        shop.wait_until(lambda: not shop.stored(), "the end of the outbox")
        rounds.append({**shop.state(), **held_by(shop, worker)})
        print(" ".join(f"{name}={value:,.0f}" for name, value in rounds[-1].items()))  # noqa: T201 - to watch

    # Then nothing has become more
    row.record(30, FAULT, 'outbox, confirm="handled", once=True', shop.history.verdict())
    assert shop.restarts == 0
    early, late = rounds[_WARM_UP : _WARM_UP + 3], rounds[-3:]
    grown = {
        name: (before, after)
        for name in rounds[-1]
        if name != "pid"
        and (after := statistics.median(each[name] for each in late))
        > allowed(name, before := statistics.median(each[name] for each in early), len(rounds))
    }
    assert not grown, grown


def held_by(shop: Shop, worker: Process) -> dict[str, float]:
    """What the worker, the broker and the store hold."""
    held: dict[str, float] = {"worker_resident": 0, "worker_threads": 0, "worker_files": 0}
    for pid in family(worker.pid):
        process = Path(f"/proc/{pid}")
        resident = int((process / "statm").read_text().split()[1])
        held["worker_resident"] += resident * os.sysconf("SC_PAGE_SIZE")
        held["worker_threads"] += len(list((process / "task").iterdir()))
        held["worker_files"] += len(list((process / "fd").iterdir()))
    broker = shop.broker
    if isinstance(broker, Valkey):
        with broker.client() as client:
            held["keys"] = client.dbsize()
            held["connections"] = client.info("clients")["connected_clients"]
    held["worker_objects"] = max(each["objects"] for each in shop.history.book("weighed")[-_WEIGHED:])
    held["outbox"] = len(shop.stored())
    held["letters"] = len(shop.letters())
    return held


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def allowed(name: str, before: float, rounds: int) -> float:
    """What something may have become that was so much before."""
    if name.endswith("resident"):
        # The allocator's own wanderings, and 100 bytes an event for completions that are remembered.
        return before * 1.1 + 4 * 2**20
    if name == "worker_objects":
        return before + 500
    if name == "worker_files":
        # Where two threads of a process need the database at once, it opens one more connection: two files.
        return before + 12
    return before + 3
