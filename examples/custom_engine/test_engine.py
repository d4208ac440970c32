"""The contract of engines: the same decisions and dead letters as on Dramatiq and Celery."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.task_queue import Message, TaskQueueHandler
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.testing.contracts import EngineContract

from .engine import TableEngine

TWICE = RetryPolicy(max_retries=2, min_backoff=0.01, max_backoff=0.02)
FAN_OUT = "fastapi_events.fan_out"
"""The task of what a handler sends to the queue `events`."""


class Place:
    """A handler on the engine, and a worker: a thread that works until nothing waits."""

    def __init__(self, path: Path, store: MemoryStore) -> None:
        self.engine = TableEngine(path)
        self.handler = TaskQueueHandler(
            self.engine,
            retry=TWICE,
            unknown_retry=TWICE,
            dead_letters=store.dead_letters,
            lanes=store.lanes,
        )

    def dispatch(self, name: str, payload: Any = None, **options: Any) -> None:
        with collect_events([self.handler], raise_errors=False):
            dispatch(name, payload, **options)
        self.settle()

    def send(self, argument: str, /, *, task: str | None = None) -> None:
        self.engine.send([Message(task or FAN_OUT, "events", argument, "some-id")])

    def work(self) -> None:
        """It works in `settle`."""

    def settle(self) -> None:
        worker = threading.Thread(target=self._work_off)
        worker.start()
        worker.join(30)
        assert not self.engine.waiting()

    def _work_off(self) -> None:
        ends = time.monotonic() + 30
        while self.engine.waiting() and time.monotonic() < ends:
            if not self.engine.work_once():
                time.sleep(0.001)

    def reasons(self) -> list[str]:
        return [reason for _, reason in self.engine.kept()]


class TestTableEngine(EngineContract):
    @pytest.fixture
    def place(self, tmp_path: Path, store: MemoryStore) -> Place:
        return Place(tmp_path / "messages.db", store)
