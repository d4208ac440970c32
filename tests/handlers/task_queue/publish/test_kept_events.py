"""Events of a flush that are in the outbox while the broker has not answered."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from fastapi_events.errors import StorageError
from fastapi_events.event import Event
from fastapi_events.storage.memory import MemoryOutbox
from tests.handlers.task_queue.broker import ListEngine, ListHandler
from tests.recording import Diary


@pytest.fixture
def outbox() -> MemoryOutbox:
    return MemoryOutbox()


class Slow(ListEngine):
    """A broker whose answer waits for a door."""

    def __init__(self) -> None:
        super().__init__()
        self.door = threading.Event()
        self.entered = threading.Event()

    def send(self, messages: Any, *, timeout: float | None = None) -> None:
        self.entered.set()
        assert self.door.wait(30)
        super().send(messages, timeout=timeout)


@pytest.mark.parametrize("settings", [{}, {"durability": "response"}])
def test_what_the_broker_has_after_all_is_not_relayed_too(
    outbox: MemoryOutbox, settings: dict[str, Any], diary: Diary
) -> None:
    # Given a broker that answers only after the flush's deadline
    engine = Slow()
    handler = ListHandler(engine, outbox=outbox, relay=False, flush_deadline=0.1, **settings)

    async def main() -> None:
        event = Event("a")
        if settings:
            await handler.persist([event])
        await handler.handle_many([event])
        assert [each.id for each in outbox.list()] == [event.id]
        assert handler.relay_thread().step() == 0  # it may yet have it

        # When the process is asked to stop, and the answer comes
        engine.door.set()
        await handler.on_shutdown()

    asyncio.run(main())

    # Then it is published once
    assert len(engine.sent) == 1
    assert outbox.list() == []
    assert diary.of("lost") == []
    assert [name for name, _ in diary.of("published")] == ["a"]


def test_what_the_broker_has_refused_after_all_is_relayed_at_once(outbox: MemoryOutbox) -> None:
    engine = Slow()
    engine.refusing = ConnectionError("connection refused")
    handler = ListHandler(engine, outbox=outbox, relay=False, flush_deadline=0.1)

    async def main() -> None:
        await handler.handle_many([Event("a")])
        engine.door.set()
        await handler.flusher.settle(10)

    asyncio.run(main())
    engine.refusing = None

    assert handler.relay_thread().step() == 1
    assert len(engine.sent) == 1


class Failing(MemoryOutbox):
    """An outbox that takes events, and then is away."""

    def reschedule(self, entries: Any) -> None:
        raise StorageError("the database is away")

    def discard(self, entries: Any) -> int:
        raise StorageError("the database is away")


@pytest.mark.parametrize(
    ("refusing", "said"),
    [
        (None, "The outbox still has 1 event after publishing: the database is away"),
        (ConnectionError("refused"), "The relay takes 1 event from the outbox later: the database is away"),
    ],
)
def test_an_outbox_that_is_away_afterwards_loses_nothing_and_is_said(
    refusing: Exception | None, said: str, caplog: pytest.LogCaptureFixture, diary: Diary
) -> None:
    outbox = Failing()
    engine = ListEngine()
    engine.refusing = refusing
    handler = ListHandler(engine, outbox=outbox, relay=False, durability="response")

    async def main() -> None:
        event = Event("a")
        await handler.persist([event])
        await handler.handle_many([event])
        await handler.on_shutdown()

    asyncio.run(main())

    assert said in caplog.text
    assert len(outbox.list()) == 1  # a relay publishes it, in one case once more
    assert diary.of("lost") == []
