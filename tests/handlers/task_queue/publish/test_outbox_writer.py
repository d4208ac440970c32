"""The writer: what it keeps of an event, and what is said when the outbox does not keep it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_events.envelope import unseal
from fastapi_events.errors import StorageError, StorageFull
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker, StoreNotAsked
from fastapi_events.handlers.task_queue.publish.outbox_writer import NoAnswerFromOutbox, OutboxWriter
from fastapi_events.handlers.task_queue.publish.relay_thread import RelayThread
from fastapi_events.handlers.task_queue.publish.sealer import Sealer
from fastapi_events.storage.memory import MemoryOutbox
from fastapi_events.storage.outbox import Entry

DESTINATION = "list:events"
AT_ONCE = 0.0
LONG = 30.0


class SlowOutbox(MemoryOutbox):
    """Writes when its door is open, and remembers what came in each write."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.writes: list[list[str]] = []
        self.removals: list[list[str]] = []
        self.threads: set[threading.Thread] = set()
        self.door = threading.Event()
        self.door.set()
        self.entered = threading.Event()

    def add(self, entries: Sequence[Entry]) -> None:
        self._pass()
        super().add(entries)
        self.writes.append([entry.id for entry in entries])

    def discard(self, entries: Sequence[Entry]) -> int:
        self._pass()
        self.removals.append([entry.id for entry in entries])
        return super().discard(entries)

    def _pass(self) -> None:
        self.threads.add(threading.current_thread())
        self.entered.set()
        assert self.door.wait(30)

    @property
    def held(self) -> list[str]:
        return [entry.id for entry in self.list()]


class Announced(RelayThread):
    """A relay that counts how often it is told that there is work."""

    times = 0

    def __init__(self) -> None:
        pass

    def start(self) -> None:
        self.times += 1


@pytest.fixture
def outbox() -> Iterator[SlowOutbox]:
    outbox = SlowOutbox()
    yield outbox
    outbox.door.set()


@pytest.fixture
def announced() -> Announced:
    return Announced()


@pytest.fixture
def writer(outbox: SlowOutbox, announced: Announced) -> Iterator[OutboxWriter]:
    writer = writer_of(outbox, announced)
    yield writer
    outbox.door.set()
    writer.shutdown(10)


def writer_of(outbox: MemoryOutbox, announced: Announced, **settings: Any) -> OutboxWriter:
    defaults: dict[str, Any] = {
        "confirm": "published",
        "deadline": LONG,
        "max_pending": 10_000,
        "sealer": Sealer("shop", {}),
    }
    return OutboxWriter(outbox, DESTINATION, relay=announced, breaker=CircuitBreaker(), **defaults | settings)


async def in_hand(writer: OutboxWriter, outbox: SlowOutbox, event: Event) -> asyncio.Task[None]:
    """An event that hangs in the outbox."""
    outbox.door.clear()
    add = asyncio.ensure_future(writer.write([event]))
    assert await asyncio.to_thread(outbox.entered.wait, 10)
    return add


# What is kept


def test_an_entry_holds_all_that_a_relay_needs(outbox: SlowOutbox, announced: Announced) -> None:
    writer = writer_of(outbox, announced, confirm="handled")
    event = Event("a", {"n": 1})
    event.ordering_key = "user-42"
    event.due = datetime.now(UTC) + timedelta(hours=1)

    asyncio.run(writer.write([event]))
    writer.shutdown(10)

    [entry] = outbox.list()
    assert (entry.id, entry.destination, entry.confirm) == (event.id, DESTINATION, "handled")
    assert (entry.ordering_key, entry.due) == ("user-42", event.due)
    assert unseal(entry.envelope) == event


def test_what_has_been_added_is_there_in_its_order_and_announced(
    writer: OutboxWriter, outbox: SlowOutbox, announced: Announced
) -> None:
    events = [Event("a"), Event("b")]

    asyncio.run(writer.write(events))

    assert outbox.held == [event.id for event in events]
    assert announced.times == 1


def test_the_outbox_is_written_to_in_a_thread_of_its_own(writer: OutboxWriter, outbox: SlowOutbox) -> None:
    asyncio.run(writer.write([Event("a")]))

    assert threading.main_thread() not in outbox.threads


def test_concurrent_flushes_are_one_write(writer: OutboxWriter, outbox: SlowOutbox) -> None:
    async def main() -> None:
        first = await in_hand(writer, outbox, Event("in hand"))
        others = [asyncio.ensure_future(writer.write([Event("a"), Event("b")])) for _ in range(3)]
        await asyncio.sleep(0)
        outbox.door.set()
        await asyncio.gather(first, *others)

    asyncio.run(main())

    assert [len(write) for write in outbox.writes] == [1, 6]


def test_what_is_held_is_for_nobody_until_then(writer: OutboxWriter, outbox: SlowOutbox) -> None:
    asyncio.run(writer.write([Event("a")], held=60.0))
    asyncio.run(writer.write([Event("b")]))

    held, free = outbox.list()
    assert (held.held, held.due) == (60.0, None)  # by the outbox's clock, whatever ours says
    assert [each.id for each in outbox.claim("me", destinations=[DESTINATION], limit=9, lease=60)] == [
        free.id
    ]


def test_a_thread_can_add_without_a_loop(writer: OutboxWriter, outbox: SlowOutbox) -> None:
    event = Event("a")

    writer.write_now([event])

    assert outbox.held == [event.id]
    assert outbox.threads == {threading.main_thread()}


# What is forgotten, or left to a relay


def test_what_has_been_published_is_removed_and_the_rest_stays(
    writer: OutboxWriter, outbox: SlowOutbox
) -> None:
    published, waits = Event("a"), Event("b")

    async def main() -> None:
        await writer.write([published, waits])
        await writer.remove([published])

    asyncio.run(main())

    assert outbox.held == [waits.id]


async def removing(writer: OutboxWriter, outbox: SlowOutbox, event: Event) -> asyncio.Task[None]:
    """A removal that hangs in the outbox."""
    outbox.entered.clear()
    outbox.door.clear()
    removal = asyncio.ensure_future(writer.remove([event]))
    assert await asyncio.to_thread(outbox.entered.wait, 10)
    return removal


def test_concurrent_removals_are_one(writer: OutboxWriter, outbox: SlowOutbox) -> None:
    events = [Event(name) for name in "abcd"]

    async def main() -> None:
        await writer.write(events)
        first = await removing(writer, outbox, events[0])
        others = [asyncio.ensure_future(writer.remove([each])) for each in events[1:]]
        await asyncio.sleep(0)
        outbox.door.set()
        await asyncio.gather(first, *others)

    asyncio.run(main())

    assert [len(removal) for removal in outbox.removals] == [1, 3]
    assert outbox.held == []
    assert threading.main_thread() not in outbox.threads


def test_who_waits_no_longer_for_a_removal_does_not_stop_it(writer: OutboxWriter, outbox: SlowOutbox) -> None:
    events = [Event("a"), Event("b")]

    async def main() -> None:
        await writer.write(events)
        first = await removing(writer, outbox, events[0])
        second = asyncio.ensure_future(writer.remove([events[1]]))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        outbox.door.set()
        await first

    asyncio.run(main())
    writer.shutdown(10)

    assert outbox.held == []


def test_removals_that_find_no_room_are_an_error(outbox: SlowOutbox, announced: Announced) -> None:
    writer = writer_of(outbox, announced, max_pending=1)
    events = [Event(name) for name in "abc"]

    async def main() -> None:
        for each in events:
            await writer.write([each])
        first = await removing(writer, outbox, events[0])
        second = asyncio.ensure_future(writer.remove([events[1]]))
        await asyncio.sleep(0)
        with pytest.raises(StorageError, match="does not keep up: 1 events wait"):
            await writer.remove([events[2]])
        outbox.door.set()
        await asyncio.gather(first, second)

    asyncio.run(main())
    writer.shutdown(10)

    assert outbox.held == [events[2].id]


def test_what_is_handed_to_the_relay_is_held_no_longer(
    writer: OutboxWriter, outbox: SlowOutbox, announced: Announced
) -> None:
    # Given events that this process holds, one of which is to be late
    event, late = Event("a"), Event("late")
    late.due = datetime.now(UTC) + timedelta(hours=1)

    async def main() -> None:
        await writer.write([event, late], held=60.0)
        await writer.hand_to_relay([event, late])

    asyncio.run(main())

    # Then the one may be claimed at once, the other when it is due
    assert [entry.due for entry in outbox.list()] == [None, late.due]
    assert announced.times == 2


def test_neither_needs_the_payload_once_more(outbox: SlowOutbox, announced: Announced) -> None:
    sealed: list[str] = []

    class Counting(Sealer):
        def seal(self, events: Sequence[Event]) -> list[str]:
            sealed.extend(event.id for event in events)
            return super().seal(events)

    writer = writer_of(outbox, announced, sealer=Counting("shop", {}))
    event = Event("a")

    async def main() -> None:
        await writer.write([event], held=60.0)
        await writer.hand_to_relay([event])
        await writer.remove([event])

    asyncio.run(main())
    writer.shutdown(10)

    assert sealed == [event.id]
    assert outbox.held == []


# What is not kept


def test_a_full_outbox_says_so_and_nothing_is_announced(announced: Announced) -> None:
    outbox = MemoryOutbox(max_entries=1)
    writer = writer_of(outbox, announced)

    with pytest.raises(StorageFull):
        asyncio.run(writer.write([Event("a"), Event("b")]))
    writer.shutdown(10)

    assert outbox.list() == []
    assert announced.times == 0


def test_one_flush_without_room_does_not_take_others_with_it(announced: Announced) -> None:
    # Given room for three, and a flush of two and one of three that are written together
    outbox = SlowOutbox(max_entries=3)
    writer = writer_of(outbox, announced)

    async def main() -> list[Any]:
        first = await in_hand(writer, outbox, Event("in hand"))
        flushes = [
            asyncio.ensure_future(writer.write([Event("a") for _ in range(count)])) for count in (3, 2)
        ]
        await asyncio.sleep(0)
        outbox.door.set()
        return await asyncio.gather(first, *flushes, return_exceptions=True)

    outcomes = asyncio.run(main())
    writer.shutdown(10)

    assert [type(each) for each in outcomes] == [type(None), StorageFull, type(None)]
    assert len(outbox.held) == 3


def test_an_outbox_that_does_not_answer_in_time_is_an_error(outbox: SlowOutbox, announced: Announced) -> None:
    writer = writer_of(outbox, announced, deadline=AT_ONCE)
    outbox.door.clear()

    with pytest.raises(StorageError, match=r"no answer from the outbox within 0\.0 s"):
        asyncio.run(writer.write([Event("a")]))

    # Then nobody is told of what may yet come to be there
    assert announced.times == 0
    outbox.door.set()
    writer.shutdown(10)


def test_an_outbox_that_hangs_delays_no_more_than_one_write(outbox: SlowOutbox, announced: Announced) -> None:
    # Given an outbox that has not answered in time
    writer = writer_of(outbox, announced, deadline=0.1)
    outbox.door.clear()
    with pytest.raises(NoAnswerFromOutbox):
        asyncio.run(writer.write([Event("a")]))

    # Then the next is told so at once, unless nothing else is left
    with pytest.raises(StoreNotAsked, match="known to be away"):
        asyncio.run(writer.write([Event("b")]))
    last = Event("c")
    with pytest.raises(StorageError, match="no answer"):
        asyncio.run(writer.write([last], is_last_resort=True))
    outbox.door.set()
    asyncio.run(writer.write([last], is_last_resort=True))

    # And those that follow are written as soon as it takes one
    event = Event("d")
    asyncio.run(writer.write([event]))
    assert outbox.held[-2:] == [last.id, event.id]


def test_what_is_reported_as_not_written_is_not_written_later(
    outbox: SlowOutbox, announced: Announced
) -> None:
    writer = writer_of(outbox, announced, deadline=0.1)

    async def main() -> None:
        first = await in_hand(writer, outbox, Event("in hand"))
        with pytest.raises(StorageError, match="no answer"):
            await writer.write([Event("waits")], is_last_resort=True)
        outbox.door.set()
        with contextlib.suppress(NoAnswerFromOutbox):
            await first

    asyncio.run(main())
    writer.shutdown(10)

    assert len(outbox.held) == 1


def test_an_outbox_that_is_full_is_not_away(announced: Announced) -> None:
    writer = writer_of(MemoryOutbox(max_entries=1), announced)
    for _ in range(2):
        with pytest.raises(StorageFull):
            asyncio.run(writer.write([Event("a"), Event("b")]))
    asyncio.run(writer.write([Event("c")]))
    writer.shutdown(10)


def test_a_buffer_that_is_full_is_an_error_at_once(outbox: SlowOutbox, announced: Announced) -> None:
    writer = writer_of(outbox, announced, max_pending=2)

    async def main() -> None:
        first = await in_hand(writer, outbox, Event("in hand"))
        second = asyncio.ensure_future(writer.write([Event("a"), Event("b")]))
        await asyncio.sleep(0)
        with pytest.raises(StorageError, match="the outbox does not keep up: 2 events wait"):
            await writer.write([Event("c")])
        outbox.door.set()
        await asyncio.gather(first, second)

    asyncio.run(main())
    writer.shutdown(10)

    assert len(outbox.held) == 3


def test_a_cancelled_flush_takes_nothing_back(writer: OutboxWriter, outbox: SlowOutbox) -> None:
    # Given a flush whose events are being written, and one whose events wait for it
    being_written, waits = Event("a"), Event("b")

    async def main() -> None:
        adds = [await in_hand(writer, outbox, being_written), asyncio.ensure_future(writer.write([waits]))]
        await asyncio.sleep(0)
        for add in adds:
            add.cancel()
        for add in adds:
            with pytest.raises(asyncio.CancelledError):
                await add

    # When both are cancelled
    asyncio.run(main())
    outbox.door.set()
    writer.shutdown(10)

    # Then their events are kept all the same: rather twice than not at all
    assert outbox.held == [being_written.id, waits.id]


def test_what_a_shutdown_leaves_unwritten_is_an_error_and_no_cancellation(
    writer: OutboxWriter, outbox: SlowOutbox
) -> None:
    # Given a flush that waits behind a write that hangs
    async def main() -> None:
        first = await in_hand(writer, outbox, Event("in hand"))
        second = asyncio.ensure_future(writer.write([Event("a")]))
        await asyncio.sleep(0)

        # When the process stops before it is its turn
        await asyncio.to_thread(writer.shutdown, AT_ONCE)

        # Then it gets to know that its events were not kept, so that it can report them
        with pytest.raises(StorageError, match="the process stopped before"):
            await second
        outbox.door.set()
        await first

    asyncio.run(main())

    assert len(outbox.held) == 1


def test_shutdown_writes_what_waits(writer: OutboxWriter, outbox: SlowOutbox) -> None:
    async def main() -> None:
        first = await in_hand(writer, outbox, Event("in hand"))
        second = asyncio.ensure_future(writer.write([Event("a")]))
        await asyncio.sleep(0)
        outbox.door.set()
        await asyncio.to_thread(writer.shutdown, 10)
        await asyncio.gather(first, second)

    asyncio.run(main())

    assert len(outbox.held) == 2
