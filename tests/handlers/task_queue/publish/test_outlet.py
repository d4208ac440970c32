"""What waits in a process that ends is published, kept in the outbox, or reported lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from fastapi_events.envelope import unseal
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue import Message
from fastapi_events.storage.memory import MemoryOutbox
from tests.handlers.task_queue.broker import ListEngine, ListHandler
from tests.recording import Diary


class StuckEngine(ListEngine):
    """Whose broker does not answer until its door is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.door = threading.Event()
        self.entered = threading.Event()

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        self.entered.set()
        assert self.door.wait(60)
        super().send(messages, timeout=timeout)


@pytest.fixture
def engine() -> Iterator[StuckEngine]:
    engine = StuckEngine()
    yield engine
    engine.door.set()


def end_amid_two_flushes(handler: ListHandler, engine: StuckEngine, names: tuple[str, str]) -> None:
    """Let the process end while one event is on its way to the broker, and another waits behind it."""

    async def main() -> None:
        first = asyncio.create_task(handler.handle_many([Event(names[0])]))
        assert await asyncio.to_thread(engine.entered.wait, 60)
        second = asyncio.create_task(handler.handle_many([Event(names[1])]))
        while not handler._outlet.publisher.pending:
            await asyncio.sleep(0.001)
        handler._outlet.publish_the_rest(0.01)
        engine.door.set()
        await asyncio.gather(first, second, return_exceptions=True)

    asyncio.run(main())


def test_what_waits_is_reported_lost_where_nothing_can_keep_it(engine: StuckEngine, diary: Diary) -> None:
    end_amid_two_flushes(ListHandler(engine, flush_deadline=60), engine, ("sent", "left"))

    told = [(name, rest["reason"]) for name, rest in diary.of("lost")]
    assert ("left", "the process ended before the broker took it") in told
    assert "sent" not in dict(told)


def test_what_waits_is_kept_in_the_outbox(engine: StuckEngine, diary: Diary) -> None:
    outbox = MemoryOutbox()

    end_amid_two_flushes(
        ListHandler(engine, flush_deadline=60, outbox=outbox, relay=False), engine, ("sent", "left")
    )

    assert "left" in [str(unseal(each.envelope).name) for each in outbox.list()]
    assert diary.of("lost") == []


def test_a_relay_needs_an_outbox() -> None:
    with pytest.raises(ConfigurationError, match="list:events has no outbox that could be relayed: outbox="):
        ListHandler().relay_thread()
