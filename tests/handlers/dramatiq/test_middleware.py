"""What Dramatiq's own means and others' middleware do with our actors, and what follows."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Middleware, SkipMessage

from fastapi_events.event import Event
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.middleware import middleware_of
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.storage.outbox import Entry
from tests.places import Dramatiq, dramatiq_on_redis
from tests.recording import Diary

AN_HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def place(store: MemoryStore) -> Iterator[Dramatiq]:
    place = Dramatiq(StubBroker(), dead_letters=store.dead_letters, lanes=store.lanes, outbox=store.outbox,
                     confirm="handled", relay=False)  # fmt: skip
    yield place
    place.close()


def publish(place: Dramatiq, *events: Event) -> None:
    asyncio.run(place.handler.publish(events))
    place.settle()


def ordered(payload: int, *, at: datetime) -> Event:
    event = Event("cat", payload, dispatched_at=at)
    event.ordering_key = "k"
    return event


def test_one_that_is_too_old_is_given_up_with_its_reason_and_nobody_waits_for_it(
    place: Dramatiq, store: MemoryStore, diary: Diary
) -> None:
    got: list[int] = []
    place.handler.register(lambda event: got.append(event.payload), name="feed", max_age=60_000)

    # Given an event that was dispatched an hour ago, and one behind it
    publish(place, ordered(1, at=AN_HOUR_AGO), ordered(2, at=datetime.now(UTC)))

    # Then the first is a dead letter, though its message is new, and the second goes on
    assert got == [2]
    [letter] = store.dead_letters.list()
    assert (letter.subscription, letter.attempts) == ("feed", 0)
    assert letter.reason == "SkipMessage: Message age limit exceeded"
    assert letter.first_at == AN_HOUR_AGO
    assert [rest["reason"] for _, rest in diary.of("dead")] == [letter.reason]
    assert store.outbox.list() == []  # both have their receipts


class Skipping(Middleware):
    def before_process_message(self, broker: Any, message: Any) -> None:
        if message.actor_name == "feed":
            raise SkipMessage("not today")


def test_whatever_middleware_skips_it(place: Dramatiq, store: MemoryStore) -> None:
    place.broker.add_middleware(Skipping())
    place.handler.register(lambda event: None, name="feed")

    publish(place, Event("cat"))

    assert [each.reason for each in store.dead_letters.list()] == ["SkipMessage: not today"]
    assert store.outbox.list() == []


def test_a_function_that_skips_has_given_up(place: Dramatiq, store: MemoryStore) -> None:
    @place.handler.register(name="feed")
    def feed(event: Event) -> None:
        raise SkipMessage("not today")

    publish(place, Event("cat"))

    assert [each.reason for each in store.dead_letters.list()] == ["SkipMessage: not today"]


def test_a_fan_out_that_is_too_old_is_waited_for_no_longer(
    place: Dramatiq, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.broker.add_middleware(_SkippingFanOut())
    event = Event("cat")
    store.outbox.add([Entry(id=event.id, destination=place.handler.name, envelope="{}", confirm="handled")])

    publish(place, event)

    assert [each.reason for each in store.dead_letters.list()] == ["SkipMessage: too old"]
    assert store.outbox.list() == []


class _SkippingFanOut(Middleware):
    def before_process_message(self, broker: Any, message: Any) -> None:
        if message.actor_name == "fastapi_events.fan_out":
            raise SkipMessage("too old")


# StubBroker


def test_join_raises_the_functions_own_error_and_waits_for_no_retry() -> None:
    # Given a handler with the retries that it has by default
    broker = StubBroker()
    handler = DramatiqHandler(broker)
    calls: list[int] = []

    @handler.register(name="feed")
    def feed(event: Event) -> None:
        calls.append(1)
        raise ValueError("no fish")

    worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=1)
    worker.start()
    try:
        began = time.monotonic()
        asyncio.run(handler.publish([Event("cat")]))
        broker.join("events", fail_fast=False)
        with pytest.raises(ValueError, match="no fish"):
            broker.join("events", timeout=30_000)
        waited = time.monotonic() - began
    finally:
        worker.stop()

    assert len(calls) == 6
    assert waited < 15  # its policy says 15 s to 31 s


# Others' middleware


class Watching(Middleware):
    def __init__(self) -> None:
        self.seen: list[tuple[BaseException | None, Any]] = []

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if message.actor_name == "feed":
            throws = message.options.get("throws") or broker.get_actor("feed").options.get("throws")
            self.seen.append((exception, throws))


@pytest.mark.parametrize("last", [True, False])
def test_a_middleware_sees_each_error_and_none_is_thrown(place: Dramatiq, last: bool) -> None:
    watching = Watching()
    if last:
        place.broker.add_middleware(watching)
    else:
        place.broker.add_middleware(watching, before=type(place.broker.middleware[0]))
    error = ValueError("no fish")

    @place.handler.register(name="feed")
    def feed(event: Event) -> None:
        raise error

    publish(place, Event("cat"))

    assert watching.seen == [(error, None)] * 3


SENTRY = """
import asyncio
import sentry_sdk
from sentry_sdk.integrations.dramatiq import DramatiqIntegration
from sentry_sdk.transport import Transport

seen = []

class Keeping(Transport):
    def capture_envelope(self, envelope):
        event = envelope.get_event()
        if event is not None:
            seen.append(event["exception"]["values"][-1])

sentry_sdk.init(
    dsn="http://key@localhost/1", transport=Keeping, default_integrations=False,
    integrations=[DramatiqIntegration()],
)

import dramatiq
from dramatiq.brokers.stub import StubBroker
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.retry import RetryPolicy
from fastapi_events.typing import Event

broker = StubBroker()
events = DramatiqHandler(broker, retry=RetryPolicy(max_retries=1))

@events.register(name="feed")
def feed(event):
    raise ValueError("no fish")

worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=1)
worker.start()
asyncio.run(events.publish([Event("cat")]))
broker.join("events", fail_fast=False)
worker.stop()
sentry_sdk.flush()
print([(each["type"], each["value"]) for each in seen])
"""


def test_sentrys_integration_sees_each_error() -> None:
    run = subprocess.run(
        [sys.executable, "-c", SENTRY], capture_output=True, text=True, timeout=100, check=False
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str([("ValueError", "no fish")] * 2)


# An actor that the worker does not have


def test_nothing_of_the_broker_is_replaced(place: Dramatiq) -> None:
    actors = place.broker.actors

    place.work()

    assert place.broker.actors is actors
    assert type(actors) is dict


def test_a_message_for_it_waits_in_its_queue_and_leaves_no_copy(place: Dramatiq, store: MemoryStore) -> None:
    place.work()

    place.send('{"specversion":"1.0","id":"1","source":"shop","type":"x"}', task="not.deployed.yet")
    place.settle()

    assert [each.subscription for each in store.dead_letters.list()] == ["not.deployed.yet"]
    assert place.dead() == []


def test_in_a_queue_that_is_nobodys_of_ours_it_is_dramatiqs_business(place: Dramatiq) -> None:
    dramatiq.actor(actor_name="own", queue_name="own", broker=place.broker)(print)
    place.work()

    place.send(1, task="not.deployed.yet", queue="own")
    place.broker.join("own", fail_fast=False)

    assert [message.actor_name for message in place.rejected("own")] == ["not.deployed.yet"]


# A worker that has to stop while the broker is away


@pytest.mark.valkey
@pytest.mark.parametrize("refusals", [0, 1, 2], ids=["at the last try", "before", "after"])
def test_what_failed_is_not_given_up_because_the_worker_had_to_stop(
    valkey_url: str, diary: Diary, refusals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dramatiq_on_redis(valkey_url) as place:
        redelivery = middleware_of(place.broker)
        enqueue, failing, runs, refused = redelivery.enqueue, threading.Event(), [], []

        def away(message: Any, *, delay: int | None = None) -> None:
            failing.set()
            if not redelivery._stopping.is_set() or len(refused) < refusals:
                refused.append(redelivery._stopping.is_set())
                refused[:] = [each for each in refused if each]
                raise ConnectionError("away")
            enqueue(message, delay=delay)

        @place.handler.register(name="feed")
        def feed(event: Event) -> None:
            runs.append(event.id)
            if len(runs) == 1:
                monkeypatch.setattr(redelivery, "enqueue", away)
                raise ValueError("not now")

        # Given a function that has failed while the broker is away
        place.work()
        asyncio.run(place.handler.publish([Event("cat")]))
        assert failing.wait(30)

        # When the worker is asked to stop, and the broker is back for it
        assert place.worker is not None
        place.worker.stop()
        place.worker = None
        monkeypatch.undo()

        # Then the message is not among the dead, and the next worker runs it
        assert place.rejected() == []
        assert diary.of("dead") == []
        place.settle()
        assert len(runs) == 2


def test_what_waits_for_its_successor_is_bounded_by_the_publishers_own_deadline(place: Dramatiq) -> None:
    class Blocked:
        """A server with an alarm, which takes nothing."""

        asked: ClassVar[list[float | None]] = []

        def publish(self, messages: Any, *, timeout: float | None) -> None:
            self.asked.append(timeout)
            raise TimeoutError("RabbitMQ did not confirm 1 message")

    redelivery = middleware_of(place.broker)
    redelivery.publish_by(Blocked())
    redelivery.before_worker_shutdown(place.broker, None)

    message: Any = dramatiq.Message("events", "feed", (), {}, {})
    assert not redelivery.until_done(lambda: redelivery.enqueue(message), "1")

    assert len(Blocked.asked) == 2  # and once more, though the worker stops
