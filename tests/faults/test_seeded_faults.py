"""Every call to stores and broker may fail, before or after it has been executed, as a seed has it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from fastapi_events import under_test
from fastapi_events.errors import NotPublished, StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import Message
from fastapi_events.handlers.task_queue.worker.outcome import TryLater
from fastapi_events.storage.memory import MemoryStore
from tests.faulty import Faults
from tests.handlers.task_queue.broker import ListEngine, ListHandler

FLUSHES = 60


class FailingEngine(ListEngine):
    """A broker whose sends may fail."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._really_send = faults.failing(super().send, ConnectionError)

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        self._really_send(messages, timeout=timeout)


class Queue(ListHandler):
    """Workers that deliver again what has failed."""

    def __init__(self, faults: Faults, **settings: Any) -> None:
        super().__init__(FailingEngine(faults), **settings)

    def work(self) -> None:
        """Take message after message; those that fail are delivered again the next time."""
        failed = []
        while self.sent:
            message = self.sent.pop(0)
            try:
                self.engine.actors[message.task].run(message.argument)
            except (StorageError, ConnectionError, TryLater):
                failed.append(message)
        self.sent.extend(failed)


@pytest.mark.parametrize("confirm", ["published", "handled"])
def test_everything_is_handled_or_reported(
    confirm: str, seeds: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in seeds:
        _one_history(confirm, seed, monkeypatch)


def _one_history(confirm: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given stores and a broker of which every fifth call fails
    faults, now = Faults(seed), 1_800_000_000.0
    store = MemoryStore(clock=lambda: now)
    handler = Queue(
        faults, outbox=faults.around(store.outbox), inbox=faults.around(store.inbox), confirm=confirm,
        relay=False, flush_deadline=60.0, resend_after=60.0,
    )  # fmt: skip
    always: Counter[str] = Counter()
    once: Counter[str] = Counter()
    handler.register(lambda event: always.update([event.id]), name="always")
    handler.register(lambda event: once.update([event.id]), name="once", once=True)

    # When events are flushed, relayed and handled
    monkeypatch.setattr(under_test, "seconds_ahead", 0.0)
    accepted, lost = [], []
    for number in range(FLUSHES):
        event = Event("cat-purred", {"number": number})
        try:
            asyncio.run(handler.handle_many([event]))
        except NotPublished:
            lost.append(event.id)
        else:
            accepted.append(event.id)
        if number % 5 == 0:
            _step(handler)
        handler.work()

    # Then, as soon as time has passed, all that was not reported lost has been handled
    for _ in range(100):
        now += 61
        monkeypatch.setattr(under_test, "seconds_ahead", now - 1_800_000_000.0)  # for breakers, too
        _step(handler)
        handler.work()
    what = f"seed {seed}: {faults.drawn}"
    assert set(accepted) <= always.keys(), what
    assert set(accepted) <= once.keys(), what
    assert len(lost) + len(accepted) == FLUSHES
    assert store.outbox.list() == [], what
    # Twice only where a completed run could not be recorded
    unrecorded = faults.drawn.count(("complete", "refused"))
    assert sum(once.values()) - len(once) <= unrecorded, what
    asyncio.run(handler.on_shutdown())


def _step(handler: Queue) -> None:
    with contextlib.suppress(StorageError, ConnectionError):
        handler.relay_thread().step()
