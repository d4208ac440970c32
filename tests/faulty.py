"""Faults around every call to a store or a broker, drawn from a seed, so that a failure can be had again.

`pytest --fault-seed=N` runs any test among those faults that change no outcome: calls that come late, threads
that are frozen before the call or after it, and calls that are repeated, as when an answer was lost, where
the interface promises that repeating is harmless. `Faults.failing` adds those that do change it.
"""

from __future__ import annotations

import functools
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_events.errors import StorageError
from fastapi_events.handlers.celery.engine import CeleryEngine
from fastapi_events.handlers.dramatiq.engine import DramatiqEngine
from fastapi_events.storage import memory, redis, sqlalchemy
from fastapi_events.storage.base import Store
from fastapi_events.storage.dead_letters import DeadLetters
from fastapi_events.storage.inbox import Inbox
from fastapi_events.storage.lanes import Lanes
from fastapi_events.storage.outbox import Outbox
from tests.handlers.task_queue.broker import ListEngine

CALLS: dict[type[Store], tuple[str, ...]] = {
    Outbox: ("add", "claim", "extend", "published", "release", "expect", "receipt", "discard"),
    Inbox: ("begin", "extend", "complete", "release"),
    DeadLetters: ("add", "discard"),
    Lanes: ("put", "take", "extend", "started", "finish", "finish_and_take", "release", "due", "missed"),
}
"""The calls of each interface that change or give out something."""

REPEATABLE: dict[type[Store], tuple[str, ...]] = {
    Outbox: ("add", "receipt"),
    Inbox: ("begin", "extend", "complete", "release"),
    DeadLetters: ("add",),
    Lanes: ("put", "take", "extend", "missed"),
}
"""Those whose answer is the same when they are repeated."""

STORES: tuple[type[Store], ...] = (
    memory.MemoryOutbox, memory.MemoryInbox, memory.MemoryDeadLetters, memory.MemoryLanes,
    sqlalchemy.SqlOutbox, sqlalchemy.SqlInbox, sqlalchemy.SqlDeadLetters, sqlalchemy.SqlLanes,
    redis.RedisInbox, redis.RedisDeadLetters, redis.RedisLanes,
)  # fmt: skip

ENGINES = (ListEngine, DramatiqEngine, CeleryEngine)

LATE, FROZEN, FROZEN_AFTER, REPEATED, REFUSED, UNCONFIRMED = (
    "late", "frozen", "frozen after", "repeated", "refused", "unconfirmed"
)  # fmt: skip


class Faults:
    """Says what happens to each call.

    Parameters:
        seed: Of the draw.
        rate: Which part of the calls something happens to.
    """

    def __init__(self, seed: int, *, rate: float = 0.2) -> None:
        self.drawn: list[tuple[str, str]] = []
        """What has happened to which call."""
        self._random = random.Random(seed)
        self._rate = rate
        self._lock = threading.Lock()

    def harmless(self, call: Callable[..., Any], *, repeatable: bool) -> Callable[..., Any]:
        """The call among faults that change no outcome."""
        kinds = [LATE, FROZEN, FROZEN_AFTER, *([REPEATED] if repeatable else [])]

        @functools.wraps(call)
        def faulty(*args: Any, **kwargs: Any) -> Any:
            kind = self._draw(call.__name__, kinds)
            if kind in (LATE, FROZEN):
                time.sleep(0.001 if kind == LATE else 0.02)
            answer = call(*args, **kwargs)
            if kind == REPEATED:
                answer = call(*args, **kwargs)
            if kind == FROZEN_AFTER:
                time.sleep(0.02)
            return answer

        return faulty

    def failing(self, call: Callable[..., Any], error: type[Exception]) -> Callable[..., Any]:
        """The call among faults before it, and after it: it was executed, and is reported as failed."""

        @functools.wraps(call)
        def faulty(*args: Any, **kwargs: Any) -> Any:
            kind = self._draw(call.__name__, [LATE, REFUSED, UNCONFIRMED])
            if kind == LATE:
                time.sleep(0.001)
            if kind == REFUSED:
                raise error(f"{call.__name__} was refused")
            answer = call(*args, **kwargs)
            if kind == UNCONFIRMED:
                raise error(f"{call.__name__} was executed, and is reported as failed")
            return answer

        return faulty

    def around(self, store: Any) -> Any:
        """The store, whose calls fail."""
        [kind] = [each for each in CALLS if isinstance(store, each)]
        for name in CALLS[kind]:
            setattr(store, name, self.failing(getattr(store, name), StorageError))
        return store

    def _draw(self, call: str, kinds: list[str]) -> str | None:
        with self._lock:
            if self._random.random() >= self._rate:
                return None
            kind = self._random.choice(kinds)
            self.drawn.append((call, kind))
            return kind


def install(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put harmless faults around every store and every broker that a test makes."""
    for store in STORES:
        [kind] = [each for each in CALLS if issubclass(store, each)]
        for name in CALLS[kind]:
            repeatable = name in REPEATABLE[kind]
            call = getattr(store, name)
            monkeypatch.setattr(store, name, faults.harmless(call, repeatable=repeatable))
    for engine in ENGINES:
        monkeypatch.setattr(engine, "send", faults.harmless(engine.send, repeatable=False))
