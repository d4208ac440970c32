"""Turns: once an event, and in order by key."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import Message
from fastapi_events.handlers.task_queue.worker.outcome import NO_RETRY, Attempt, TryLater, letter_of
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryDeadLetters, MemoryInbox, MemoryLanes, MemoryOutbox
from tests.handlers.task_queue.broker import ListEngine, ListHandler
from tests.recording import Diary


def ordered(name: str, payload: Any, key: str) -> Event:
    event = Event(name, payload)
    event.ordering_key = key
    return event


def flush(handler: ListHandler, *events: Event) -> None:
    with collect_events([handler]) as backlog:
        for event in events:
            backlog.append(event)


def take(handler: ListHandler, message: Message) -> None:
    """Do what a worker does with a message; it is sent again where it is not its turn."""
    subscription = handler.subscriptions.named(message.task)
    try:
        if subscription is None:
            handler.worker.fan_out(message.argument)
        else:
            handler.worker.perform(subscription, message.argument)
    except TryLater:
        handler.sent.append(message)


def _attempt(message: Message) -> Attempt:
    return Attempt(
        handler="list:events", subscription=message.task, queue=message.queue, message_id=message.id,
        policy=NO_RETRY, arguments=[message.argument],
    )  # fmt: skip


# Once


def test_a_completed_event_is_skipped(diary: Diary) -> None:
    handler = ListHandler(inbox=MemoryInbox())
    ran: list[str] = []
    handler.register(lambda event: ran.append(event.id), name="one", once=True)
    handler.register(lambda event: ran.append(event.id), name="two")

    flush(handler, Event("a"))
    handler.worker.fan_out(handler.sent.pop().argument)
    handler.sent.extend(list(handler.sent))  # each message is delivered twice
    handler.run()

    assert len(ran) == 3
    assert [rest["subscription"] for _, rest in diary.of("skipped")] == ["one"]


def test_a_failed_event_is_tried_again() -> None:
    handler = ListHandler(inbox=MemoryInbox())
    ran: list[str] = []

    @handler.register(name="one", once=True)
    def one(event: Event) -> None:
        ran.append(event.id)
        if len(ran) == 1:
            raise ValueError("not yet")

    flush(handler, Event("a"))
    handler.worker.fan_out(handler.sent.pop().argument)
    [message] = handler.sent
    with pytest.raises(ValueError, match="not yet"):
        handler.worker.perform(handler.subscriptions.named("one"), message.argument)  # type: ignore[arg-type]
    handler.run()

    assert len(ran) == 2


def test_two_deliveries_at_once_do_not_run_side_by_side() -> None:
    handler = ListHandler(inbox=MemoryInbox())
    ran: list[str] = []

    @handler.register(name="one", once=True)
    def one(event: Event) -> None:
        ran.append(event.id)
        if len(ran) == 1:  # the second delivery comes while the first one runs
            with pytest.raises(TryLater):
                handler.worker.perform(handler.subscriptions.named("one"), message.argument)  # type: ignore[arg-type]

    flush(handler, Event("a"))
    handler.worker.fan_out(handler.sent.pop().argument)
    [message] = handler.sent
    handler.run()

    assert len(ran) == 1


# Order


def test_events_of_a_key_have_one_message_in_the_broker() -> None:
    handler = ListHandler(lanes=MemoryLanes())
    handler.register(lambda event: None, name="one")

    flush(handler, *[ordered("a", n, "k") for n in range(5)], ordered("a", 0, "other"))

    assert len(handler.sent) == 2


@pytest.mark.parametrize("seed", range(20))
def test_each_function_gets_the_events_of_a_key_in_order_whatever_the_broker_does(seed: int) -> None:
    # Given two functions, of which one fails now and then
    chance = random.Random(seed)
    handler = ListHandler(lanes=MemoryLanes())
    got: dict[tuple[str, str], list[int]] = defaultdict(list)

    def function(name: str, failing: float) -> Callable[[Event], None]:
        def run(event: Event) -> None:
            if chance.random() < failing:
                raise ValueError("not yet")
            got[name, str(event.ordering_key)].append(event.payload)

        return run

    handler.register(function("steady", 0.0), name="steady")
    handler.register(function("flaky", 0.3), name="flaky")

    # When flushes come while messages are taken in any order, some of them twice
    left = {"x": list(range(10)), "y": list(range(10))}
    while any(left.values()) or handler.sent:
        if any(left.values()) and (not handler.sent or chance.random() < 0.3):
            key = chance.choice([key for key, numbers in left.items() if numbers])
            flush(handler, *[ordered("a", left[key].pop(0), key) for _ in range(min(2, len(left[key])))])
        if not handler.sent:
            continue
        message = handler.sent.pop(chance.randrange(len(handler.sent)))
        if chance.random() < 0.1:
            handler.sent.append(message)
        try:
            take(handler, message)
        except ValueError:
            handler.sent.append(message)  # the engine retries it

    # Then nobody has noticed
    for numbers in got.values():
        assert numbers == list(range(10))
    assert len(got) == 4


def test_an_event_that_nobody_listens_to_does_not_stand_in_the_way_of_those_behind_it() -> None:
    handler = ListHandler(lanes=MemoryLanes())
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), event_name="heard", name="one")

    flush(handler, ordered("unheard", 1, "k"), ordered("heard", 2, "k"), ordered("heard", 3, "k"))
    handler.run()

    assert got == [2, 3]


def test_who_is_given_up_lets_the_next_one_go_on() -> None:
    handler = ListHandler(lanes=MemoryLanes())
    got: list[int] = []

    @handler.register(name="one")
    def one(event: Event) -> None:
        if event.payload == 1:
            raise ValueError("never")
        got.append(event.payload)

    flush(handler, ordered("a", 1, "k"), ordered("a", 2, "k"))
    while handler.sent:
        message = handler.sent.pop(0)
        try:
            take(handler, message)
        except ValueError:
            handler.worker.dead_letters.give_up(letter_of(_attempt(message), ValueError("never"), attempts=1))

    assert got == [2]


def test_a_lane_whose_message_was_lost_is_swept() -> None:
    clock = Clock()
    handler = ListHandler(lanes=MemoryLanes(clock=clock))
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), name="one")

    flush(handler, ordered("a", 1, "k"))
    handler.sent.clear()
    handler.sweep_lanes()
    assert handler.sent == []  # it may still be waiting for its retry

    clock.now += 3_600
    handler.sweep_lanes()
    handler.run()
    assert got == [1]


def test_what_a_stranger_produced_is_put_in_order_as_well() -> None:
    handler = ListHandler(lanes=MemoryLanes())
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), name="one")

    foreign = [
        {"specversion": "1.0", "id": str(n), "type": "a", "partitionkey": "k", "data": n} for n in (1, 2)
    ]
    handler.worker.fan_out(json.dumps(foreign))
    handler.run()

    assert got == [1, 2]


def test_order_survives_the_outbox() -> None:
    handler = ListHandler(lanes=MemoryLanes(), outbox=MemoryOutbox(), relay=False)
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), name="one")

    handler.refusing = ConnectionError("away")
    flush(handler, ordered("a", 1, "k"))  # has been put into its lane
    flush(handler, ordered("a", 2, "k"))  # not even that, since the broker is known to be away
    handler.refusing = None
    assert handler.relay_thread().step() == 2
    handler.run()

    assert got == [1, 2]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_message_that_arrives_at_once_finds_its_turn() -> None:
    # Given a broker so fast that a message is taken while it is still being sent
    class Fast(ListEngine):
        def send(self, messages: Any, *, timeout: float | None = None) -> None:
            for message in messages:
                take(handler, message)

    handler = ListHandler(Fast(), lanes=MemoryLanes())
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), name="one")

    flush(handler, *[ordered("a", n, "k") for n in range(5)])

    assert got == list(range(5))


def test_a_worker_that_died_before_the_next_one_was_told_is_made_up_for() -> None:
    clock = Clock()
    lanes = MemoryLanes(clock=clock)
    handler = ListHandler(lanes=lanes)
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), name="one")

    # Given a worker that dies after it has left the lane
    flush(handler, ordered("a", 1, "k"), ordered("a", 2, "k"))
    handler.worker.fan_out(handler.sent.pop(0).argument)
    first = next(each for each in handler.sent if each.task == "one")
    handler.sent.remove(first)
    take(handler, handler.sent.pop(0))  # fans out the second
    send, handler.engine.send = handler.engine.send, _die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        take(handler, first)
    handler.engine.send = send  # type: ignore[method-assign]

    # When its message is delivered again
    clock.now += 15
    take(handler, first)
    handler.run()

    assert got == [1, 2]


def _die(messages: Any, **_: Any) -> None:
    raise KeyboardInterrupt


def test_a_fan_out_that_was_given_up_queues_up_again_when_it_is_replayed() -> None:
    handler = ListHandler(lanes=MemoryLanes(), dead_letters=MemoryDeadLetters())
    got: list[int] = []
    handler.register(lambda event: got.append(event.payload), name="one")

    # Given a fan-out that was given up, so that the next event went on
    flush(handler, ordered("a", 1, "k"), ordered("a", 2, "k"))
    [message] = handler.sent
    handler.sent.clear()
    handler.worker.dead_letters.give_up(
        letter_of(_attempt(message), ConnectionError("the broker was away"), attempts=20)
    )
    handler.run()
    assert got == [2]

    # When it is replayed
    handler.replay(handler.dead_letters.list())  # type: ignore[union-attr]
    handler.run()

    assert got == [2, 1]
