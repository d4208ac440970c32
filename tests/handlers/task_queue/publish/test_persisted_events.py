"""Events that are in the outbox before they are flushed."""

from __future__ import annotations

import asyncio

import pytest

from fastapi_events import clock, under_test
from fastapi_events.errors import StorageFull
from fastapi_events.event import Event
from fastapi_events.storage.memory import MemoryLanes, MemoryOutbox
from tests.full import full
from tests.handlers.task_queue.broker import ListHandler
from tests.handlers.task_queue.publish.conftest import Time
from tests.recording import Diary


def test_persisted_events_are_forgotten_once_published(outbox: MemoryOutbox) -> None:
    handler = ListHandler(outbox=outbox, durability="response", relay=False)
    event = Event("a")

    asyncio.run(handler.persist([event]))
    assert [each.id for each in outbox.list()] == [event.id]
    assert handler.relay_thread().step() == 0  # it is this process that publishes them

    asyncio.run(handler.handle_many([event]))
    assert outbox.list() == []
    assert len(handler.sent) == 1


def test_persisted_events_of_a_process_that_died_are_relayed(outbox: MemoryOutbox, time: Time) -> None:
    died = ListHandler(outbox=outbox, durability="response", relay=False)
    asyncio.run(died.persist([Event("a")]))

    other = ListHandler(outbox=outbox, relay=False)
    time.ahead = 10
    other.relay_thread().step()

    assert len(other.sent) == 1
    assert outbox.list() == []


def test_persisted_events_that_are_not_to_be_flushed_are_forgotten(outbox: MemoryOutbox) -> None:
    handler = ListHandler(outbox=outbox, durability="response", relay=False)
    event = Event("a")

    asyncio.run(handler.persist([event]))
    asyncio.run(handler.forget([event]))

    assert outbox.list() == []


def test_events_that_cannot_be_persisted_are_flushed_all_the_same() -> None:
    handler = ListHandler(outbox=full(MemoryOutbox()), durability="response", relay=False)
    event = Event("a")

    with pytest.raises(StorageFull):
        asyncio.run(handler.persist([event]))
    asyncio.run(handler.handle_many([event]))

    assert len(handler.sent) == 1


def test_a_web_process_whose_clock_is_behind_publishes_once(
    outbox: MemoryOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a clock that is a minute behind that of the outbox
    monkeypatch.setattr(under_test, "seconds_ahead", -60.0)
    handler = ListHandler(outbox=outbox, durability="response", relay=False)

    asyncio.run(handler.persist([Event("a")]))

    assert handler.relay_thread().step() == 0  # it is this process that publishes it


def test_an_event_in_order_is_persisted_and_put_by_a_relay_behind_those_before_it(diary: Diary) -> None:
    # Given two events that were written before their responses, of which the second is flushed first
    handler = ListHandler(lanes=MemoryLanes(), outbox=MemoryOutbox(), durability="response", relay=False)
    got: list[str] = []
    handler.register(lambda event: got.append(event.name), name="one")
    first, second = Event("first"), Event("second")
    for each in (first, second):
        each.ordering_key = "user-42"
        asyncio.run(handler.persist([each]))

    asyncio.run(handler.handle_many([second]))
    assert handler.relay_thread().step() == 0  # the first may yet be flushed
    asyncio.run(handler.handle_many([first]))
    assert handler.relay_thread().step() == 2
    handler.run()

    assert got == ["first", "second"]
    assert diary.of("lost") == []


def test_an_event_that_is_flushed_too_late_is_left_to_the_relay(outbox: MemoryOutbox, time: Time) -> None:
    # Given an event whose entry was made so long ago that a relay may have it
    handler = ListHandler(outbox=outbox, durability="response", relay=False, flush_deadline=1.0)
    late, timely = Event("late"), Event("timely")
    outbox.add(handler.entries([late, timely]))
    handler.committed([late], clock.monotonic() - 60.0)
    handler.committed([timely], clock.monotonic())

    # When both are flushed
    asyncio.run(handler.handle_many([late, timely]))

    # Then one is published, and a relay publishes the other
    assert len(handler.sent) == 1
    assert [each.id for each in outbox.list()] == [late.id]
    time.ahead = 60
    assert handler.relay_thread().step() == 1
    assert len(handler.sent) == 2
