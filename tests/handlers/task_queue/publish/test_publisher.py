"""Publisher: what a flush becomes, and what is said of it when the broker does not take it in time."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_events.errors import NotPublished
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import (
    MAX_BYTES_PER_MESSAGE,
    MAX_EVENTS_PER_MESSAGE,
    Message,
)
from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker
from fastapi_events.handlers.task_queue.publish.publisher import NoAnswerYet, Publisher
from fastapi_events.handlers.task_queue.publish.sealer import Sealer
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.outbox import Entry

AWAY = ConnectionError("connection refused")
AT_ONCE = 0.0
LONG = 30.0


class Broker(Sender):
    """Takes messages when its door is open, unless it is `refusing`."""

    def __init__(self) -> None:
        self.sent: list[list[Message]] = []
        self.tried = 0
        self.refusing: Exception | None = None
        self.door = threading.Event()
        self.door.set()
        self.entered = threading.Event()

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        self.tried += 1
        self.entered.set()
        assert self.door.wait(30)
        if self.refusing is not None:
            raise self.refusing
        self.sent.append(list(messages))

    def keep(self, letter: DeadLetter) -> None:
        raise AssertionError("what is published is not kept")

    @property
    def messages(self) -> list[Message]:
        return [message for trip in self.sent for message in trip]


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.door.set()


def publishing(broker: Broker, routes: dict[str, str] | None = None, **settings: Any) -> Publisher:
    defaults: dict[str, Any] = {
        "deadline": LONG,
        "max_pending": 10_000,
        "breaker": CircuitBreaker(threshold=1, pause=3_600.0),
    }
    chosen = defaults | settings
    return Publisher(broker, routes=Routes("events", routes), sealer=sealer(), **chosen)


def sealer() -> Sealer:
    return Sealer("shop", {})


def ordered(name: str, key: str) -> Event:
    event = Event(name)
    event.ordering_key = key
    return event


def due(name: str, at: datetime) -> Event:
    event = Event(name)
    event.due = at
    return event


def sized(name: str, size: int) -> Event:
    event = Event(name)
    event.encoded = f'"{"x" * size}"'
    return event


def names(message: Message) -> list[str]:
    return [each["type"] for each in json.loads(message.argument)]


# What a flush becomes


def test_a_flush_is_one_message_in_its_order(broker: Broker) -> None:
    it = publishing(broker)

    asyncio.run(it.publish([Event("a", 1), Event("b", 2)]))

    [[message]] = broker.sent
    assert (message.task, message.queue, message.delay) == ("fastapi_events.fan_out", "events", 0.0)
    assert [(each["type"], each["data"], each["source"]) for each in json.loads(message.argument)] == [
        ("a", 1, "shop"),
        ("b", 2, "shop"),
    ]


def test_events_of_several_routes_go_in_one_trip(broker: Broker) -> None:
    it = publishing(broker, {"billing.*": "billing"})

    asyncio.run(it.publish([Event("billing.paid"), Event("cat"), Event("billing.refunded")]))

    [trip] = broker.sent
    assert {each.queue: names(each) for each in trip} == {
        "billing": ["billing.paid", "billing.refunded"],
        "events": ["cat"],
    }


def test_a_delayed_event_has_a_message_of_its_own_with_what_is_left_of_its_delay(broker: Broker) -> None:
    it = publishing(broker)
    now = datetime.now(UTC)

    asyncio.run(it.publish([due("later", now + timedelta(seconds=60)), Event("now")]))

    later, at_once = sorted(broker.messages, key=names)
    assert (names(later), names(at_once)) == (["later"], ["now"])
    assert 0 < later.delay <= 60
    assert at_once.delay == 0


def test_what_is_due_already_is_not_delayed(broker: Broker) -> None:
    asyncio.run(publishing(broker).publish([due("late", datetime.now(UTC) - timedelta(hours=1))]))

    assert [each.delay for each in broker.messages] == [0.0]


@pytest.mark.parametrize("more", [0, 1])
def test_a_flush_is_cut_at_the_limit_of_events(broker: Broker, more: int) -> None:
    events = [Event("a", n) for n in range(MAX_EVENTS_PER_MESSAGE + more)]

    asyncio.run(publishing(broker).publish(events))

    [trip] = broker.sent
    sizes = [MAX_EVENTS_PER_MESSAGE, 1][: 1 + more]
    assert [len(names(each)) for each in trip] == sizes
    found = [each["id"] for message in trip for each in json.loads(message.argument)]
    assert found == [event.id for event in events]


def test_a_flush_is_cut_at_the_limit_of_bytes(broker: Broker) -> None:
    # Given three events, of which two fit into one message
    events = [sized("a", MAX_BYTES_PER_MESSAGE * 2 // 5) for _ in range(3)]

    asyncio.run(publishing(broker).publish(events))

    [trip] = broker.sent
    assert [len(names(each)) for each in trip] == [2, 1]
    assert trip[0].id != trip[1].id


def test_an_event_that_is_bigger_than_a_message_goes_alone(broker: Broker) -> None:
    big = sized("big", MAX_BYTES_PER_MESSAGE + 1)

    it = publishing(broker)

    asyncio.run(it.publish([Event("a"), big, Event("b")]))
    asyncio.run(it.publish([big]))

    assert [names(each) for each in broker.messages] == [["a"], ["big"], ["b"], ["big"]]


def test_the_same_events_always_make_the_same_message(broker: Broker) -> None:
    it, events = publishing(broker), [Event("a"), Event("b")]

    asyncio.run(it.publish(events))
    asyncio.run(it.publish(events))
    asyncio.run(it.publish(events[:1]))

    first, second, other = broker.messages
    assert first == second
    assert other.id != first.id


# What the broker does not take


def test_a_refusal_is_told_with_its_cause_and_opens_the_breaker(broker: Broker) -> None:
    it = publishing(broker)
    broker.refusing = AWAY

    with pytest.raises(NotPublished, match="ConnectionError: connection refused") as raised:
        asyncio.run(it.publish([Event("a")]))

    assert raised.value.__cause__ is AWAY
    assert it.breaker.is_open


def test_while_the_breaker_is_open_nobody_asks_the_broker(broker: Broker) -> None:
    it = publishing(broker)
    it.breaker.failed()

    with pytest.raises(NotPublished, match="known to be away"):
        asyncio.run(it.publish([Event("a")]))

    assert broker.tried == 0
    assert it.pending == 0


def test_what_the_broker_takes_closes_the_breaker(broker: Broker) -> None:
    it = publishing(broker, breaker=CircuitBreaker(pause=0.0))
    it.breaker.failed()

    asyncio.run(it.publish([Event("a")]))

    assert not it.breaker.is_open
    assert len(broker.messages) == 1


async def in_hand(it: Publisher, broker: Broker, event: Event) -> asyncio.Task[None]:
    """A flush that hangs in the broker."""
    broker.door.clear()
    flush = asyncio.ensure_future(it.publish([event]))
    assert await asyncio.to_thread(broker.entered.wait, 10)
    return flush


def test_a_broker_that_does_not_answer_within_the_deadline_may_have_it(broker: Broker) -> None:
    it = publishing(broker, deadline=AT_ONCE)
    broker.door.clear()

    async def main() -> None:
        flush = asyncio.ensure_future(it.publish([Event("a")]))
        # The loop sees to the deadline only once the message is in the broker's hands.
        asyncio.get_running_loop().call_soon(broker.entered.wait, 10)
        with pytest.raises(NotPublished, match=r"no answer .* within 0\.0 s; it may have it"):
            await flush

    asyncio.run(main())

    assert it.breaker.is_open


def test_what_had_to_wait_until_its_deadline_is_not_sent_after_it(broker: Broker) -> None:
    it = publishing(broker)

    async def main() -> None:
        first = await in_hand(it, broker, Event("in hand"))
        it.deadline = AT_ONCE
        with pytest.raises(NotPublished, match="earlier events still waited for the broker after"):
            await it.publish([Event("waits")])
        assert it.breaker.is_open
        broker.door.set()
        await first

    asyncio.run(main())

    assert it.shutdown(10) == []
    assert [names(each) for each in broker.messages] == [["in hand"]]


def test_a_flush_that_is_cancelled_while_it_waits_is_never_sent(broker: Broker) -> None:
    it = publishing(broker)

    async def main() -> None:
        first = await in_hand(it, broker, Event("in hand"))
        second = asyncio.ensure_future(it.publish([Event("cancelled")]))
        while it.pending < 1:
            await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        broker.door.set()
        await first

    asyncio.run(main())

    assert it.shutdown(10) == []
    assert [names(each) for each in broker.messages] == [["in hand"]]
    assert not it.breaker.is_open  # it was not the broker that gave up


def test_a_full_buffer_refuses_at_once_and_does_not_blame_the_broker(broker: Broker) -> None:
    it = publishing(broker, max_pending=2)

    async def main() -> None:
        first = await in_hand(it, broker, Event("in hand"))
        second = asyncio.ensure_future(it.publish([Event("a"), Event("b")]))
        while it.pending < 2:
            await asyncio.sleep(0)
        with pytest.raises(NotPublished, match="2 events wait"):
            await it.publish([Event("c")])
        assert not it.breaker.is_open
        broker.door.set()
        await asyncio.gather(first, second)

    asyncio.run(main())

    assert [names(each) for each in broker.messages] == [["in hand"], ["a", "b"]]


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def refused(it: Publisher) -> weakref.ref[NotPublished]:
    """The error of a flush in a task of its own, as handlers flush, once nobody has it any more."""

    async def flush() -> NotPublished:
        try:
            await it.publish([Event("refused")])
        except NotPublished as error:  # pytest.raises would keep it, and with it this frame
            return error
        raise AssertionError("it was published")

    left = weakref.ref(await asyncio.create_task(flush()))
    await asyncio.sleep(0)  # the loop has the task until its next round
    return left


@pytest.mark.usefixtures("no_collector")
def test_what_the_broker_refuses_is_gone_without_the_garbage_collector(broker: Broker) -> None:
    broker.refusing = ConnectionError("connection refused")

    async def main() -> None:
        assert (await refused(publishing(broker)))() is None

    asyncio.run(main())


@pytest.mark.usefixtures("no_collector")
def test_what_finds_no_room_is_gone_without_the_garbage_collector(broker: Broker) -> None:
    it = publishing(broker, max_pending=1)

    async def main() -> None:
        first = await in_hand(it, broker, Event("in hand"))
        second = asyncio.ensure_future(it.publish([Event("a")]))
        while it.pending < 1:
            await asyncio.sleep(0)
        assert (await refused(it))() is None
        broker.door.set()
        await asyncio.gather(first, second)

    asyncio.run(main())


@pytest.mark.usefixtures("no_collector")
def test_what_is_late_is_gone_without_the_garbage_collector(broker: Broker) -> None:
    it = publishing(broker)

    async def main() -> None:
        first = await in_hand(it, broker, Event("in hand"))
        it.deadline = AT_ONCE
        assert (await refused(it))() is None
        broker.door.set()
        await first

    asyncio.run(main())


def test_what_waits_meanwhile_is_one_trip_of_a_message_for_each_flush(broker: Broker) -> None:
    it = publishing(broker)

    async def main() -> None:
        first = await in_hand(it, broker, Event("in hand"))
        flushes = [asyncio.ensure_future(it.publish([Event(name)])) for name in "ab"]
        while it.pending < 2:
            await asyncio.sleep(0)
        broker.door.set()
        await asyncio.gather(first, *flushes)

    asyncio.run(main())

    assert [[names(each) for each in trip] for trip in broker.sent] == [[["in hand"]], [["a"], ["b"]]]


def test_concurrent_flushes_share_a_trip_and_not_a_fate(broker: Broker) -> None:
    # Given a broker that refuses one event
    class Picky(Broker):
        def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
            self.refusing = AWAY if any("bad" in names(each) for each in messages) else None
            super().send(messages, timeout=timeout)

    picky = Picky()
    it = publishing(picky)

    async def main() -> list[Any]:
        first = await in_hand(it, picky, Event("in hand"))
        flushes = [asyncio.ensure_future(it.publish([Event(name)])) for name in ("good", "bad", "fine")]
        while it.pending < 3:
            await asyncio.sleep(0)
        picky.door.set()
        return await asyncio.gather(first, *flushes, return_exceptions=True)

    # When three flushes go out together
    outcomes = asyncio.run(main())

    # Then only the flush of that event is refused
    assert [type(each) for each in outcomes] == [type(None), type(None), NotPublished, type(None)]
    assert [names(each) for each in picky.messages] == [["in hand"], ["good"], ["fine"]]


def test_shutdown_gives_back_what_was_not_sent_and_tells_its_flush(broker: Broker) -> None:
    it = publishing(broker)
    left: list[Event] = []
    waits = [Event("a"), Event("b")]

    async def main() -> None:
        first = await in_hand(it, broker, Event("in hand"))
        second = asyncio.ensure_future(it.publish(waits))
        while it.pending < 2:
            await asyncio.sleep(0)
        left.extend(await asyncio.to_thread(it.shutdown, AT_ONCE))
        with pytest.raises(NotPublished, match="process stopped before the broker took it"):
            await second
        broker.door.set()
        await first

    asyncio.run(main())

    assert [event.id for event in left] == [event.id for event in waits]
    assert [names(each) for each in broker.messages] == [["in hand"]]


def test_an_event_that_cannot_be_sealed_reaches_nobody(broker: Broker) -> None:
    it = publishing(broker)

    with pytest.raises(ValueError, match="cannot be sent"):
        asyncio.run(it.publish([Event("a", object())]))

    assert (broker.tried, it.pending) == (0, 0)


# From the event loop


class LoopBroker(Broker):
    """One whose engine can send from the event loop, and says `answer` there."""

    answer: bool | None = True
    opened: asyncio.Event

    def sends_on_loop(self) -> bool:
        return True

    error: Exception | None = None

    async def send_on_loop(self, messages: Sequence[Message]) -> bool:
        self.tried += 1
        if self.error is not None:
            raise self.error
        if self.answer is None:
            await asyncio.Event().wait()
        if self.answer:
            self.sent.append(list(messages))
        return bool(self.answer)


def test_nobody_needs_a_thread_where_the_engine_sends_from_the_loop() -> None:
    broker = LoopBroker()
    broker.door.clear()  # no thread comes through
    it = publishing(broker, breaker=CircuitBreaker(threshold=2))
    it.breaker.failed()

    asyncio.run(it.publish([Event("a")]))
    it.breaker.failed()

    assert [names(each) for each in broker.messages] == [["a"]]
    assert not it.breaker.is_open  # what was sent has closed it


def test_what_the_loop_could_not_send_is_sent_by_the_thread() -> None:
    broker = LoopBroker()
    broker.answer = False

    asyncio.run(publishing(broker).publish([Event("a")]))

    assert (broker.tried, [names(each) for each in broker.messages]) == (2, [["a"]])


@pytest.mark.parametrize("error", [ValueError("no credentials"), TimeoutError("of the client's own")])
def test_what_fails_on_the_loop_is_sent_by_the_thread(error: Exception) -> None:
    broker = LoopBroker()
    broker.error = error

    asyncio.run(publishing(broker).publish([Event("a")]))

    assert (broker.tried, [names(each) for each in broker.messages]) == (2, [["a"]])


def test_no_answer_on_the_loop_is_no_answer() -> None:
    broker = LoopBroker()
    broker.answer = None
    it = publishing(broker, deadline=AT_ONCE)

    with pytest.raises(NotPublished, match="it may have it"):
        asyncio.run(it.publish([Event("a")]))

    assert it.breaker.is_open
    assert broker.tried == 1


def test_what_the_broker_confirms_on_the_loop_after_the_deadline_is_known() -> None:
    class Late(LoopBroker):
        async def send_on_loop(self, messages: Sequence[Message]) -> bool:
            await self.opened.wait()
            return await super().send_on_loop(messages)

    async def story(*, answer: bool) -> None:
        broker = Late()
        broker.opened, broker.answer = asyncio.Event(), answer
        it = publishing(broker, deadline=0.2)

        with pytest.raises(NoAnswerYet, match="it may have it") as late:
            await it.publish([Event("a")])
        broker.opened.set()

        if answer:
            await asyncio.wrap_future(late.value.answer)
            assert not it.breaker.is_open
        else:
            with pytest.raises(NotPublished, match="did not confirm"):
                await asyncio.wrap_future(late.value.answer)

    asyncio.run(story(answer=True))
    asyncio.run(story(answer=False))


# What an outbox held


def entry(it: Publisher, event: Event) -> Entry:
    [text] = sealer().seal([event])
    return Entry(
        id=event.id, destination="list:events", envelope=text, ordering_key=event.ordering_key, due=event.due
    )


def test_entries_make_the_messages_that_their_flush_would_have_made(broker: Broker) -> None:
    it = publishing(broker, {"billing.*": "billing"})
    events = [Event("billing.paid"), Event("cat"), Event("billing.refunded")]

    asyncio.run(it.publish(events))
    it.publish_entries([entry(it, event) for event in events])

    flushed, relayed = broker.sent
    assert relayed == flushed


def test_entries_are_sent_at_once_whatever_they_waited_for(broker: Broker) -> None:
    it = publishing(broker)

    it.publish_entries([entry(it, due("a", datetime.now(UTC) + timedelta(hours=1)))])

    assert [each.delay for each in broker.messages] == [0.0]


def test_entries_are_cut_at_the_limits_and_each_message_has_its_own_identity(broker: Broker) -> None:
    it = publishing(broker)
    events = [sized("a", MAX_BYTES_PER_MESSAGE * 2 // 5) for _ in range(3)]

    it.publish_entries([entry(it, event) for event in events])
    it.publish_entries([entry(it, events[2])])

    first, second, alone = broker.messages
    assert [len(names(first)), len(names(second))] == [2, 1]
    assert second == alone


def test_without_lanes_an_ordering_key_is_no_obstacle(broker: Broker) -> None:
    it = publishing(broker)

    it.publish_entries([entry(it, ordered("a", "k")), entry(it, ordered("b", "k"))])

    assert [names(each) for each in broker.messages] == [["a", "b"]]


def test_what_the_broker_says_to_entries_reaches_the_caller_and_the_breaker(broker: Broker) -> None:
    it = publishing(broker)
    entries = [entry(it, Event("a"))]
    broker.refusing = AWAY

    with pytest.raises(ConnectionError, match="connection refused"):
        it.publish_entries(entries)
    assert it.breaker.is_open

    # A relay asks though the breaker is open, and so finds out for the flushes that the broker is back.
    broker.refusing = None
    it.publish_entries(entries)
    assert not it.breaker.is_open
