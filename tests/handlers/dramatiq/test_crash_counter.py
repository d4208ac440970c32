"""What a broker knows of earlier deliveries, and what we count where it knows too little."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.broker import MessageProxy
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker

from fastapi_events.handlers.dramatiq.crash_counter import CrashCounter, crash_counter_on
from fastapi_events.typing import Event
from tests.places import dramatiq_on_redis
from tests.recording import Diary

MINUTES_AGO = int(time.time() * 1000) - 300_000
GONE = f"{socket.gethostname()} {2**40} 1"
ENVELOPE = '{"specversion":"1.0","id":"1","type":"hello","data":1}'


class Queue:
    """A broker, and messages in the hand of a worker: another with each delivery."""

    def __init__(self, broker: Any) -> None:
        self.broker = broker
        self.name = f"q{uuid.uuid4().hex[:8]}"

    def delivered(self, identity: str = "1", *, again: bool = True) -> MessageProxy:
        message: dramatiq.Message[Any] = dramatiq.Message(
            self.name, "work", (), {}, {"redis_message_id": identity}, message_id=identity
        )
        if again:
            message = message.copy(message_timestamp=MINUTES_AGO)
        proxy = MessageProxy(message)
        proxy.redelivered = again  # type: ignore[attr-defined]
        return proxy

    def worker(self, *, gone: bool = False) -> CrashCounter:
        """Another process would count with this, or one that has gone since."""
        return crash_counter_on(self.broker, **({"who": lambda: GONE} if gone else {}))


@pytest.fixture(
    params=[
        pytest.param("valkey", marks=pytest.mark.valkey),
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    ]
)
def queue(request: pytest.FixtureRequest) -> Iterator[Queue]:
    broker: Any
    if request.param == "valkey":
        broker = RedisBroker(url=request.getfixturevalue("valkey_url"))
        yield Queue(broker)
        broker.client.connection_pool.disconnect()
        return
    broker = RabbitmqBroker(url=request.getfixturevalue("amqp_url"), confirm_delivery=True)
    yield Queue(broker)
    broker.close()


def test_starts_whose_process_has_gone_are_counted_by_whoever_gets_the_message(queue: Queue) -> None:
    # RabbitMQ told of one before the first that is noted
    told_of = 0 if isinstance(queue.broker, RedisBroker) else 1
    crashes = [queue.worker(gone=True).before(queue.delivered()) for _ in range(4)]
    assert crashes == [0, *(number + told_of for number in (1, 2, 3))]


def test_a_message_that_ended_begins_anew(queue: Queue) -> None:
    queue.worker(gone=True).before(queue.delivered())
    worker, message = queue.worker(), queue.delivered()
    assert worker.before(message) > 0
    worker.ended(message)
    assert queue.worker().before(queue.delivered()) == 0


def test_a_start_whose_process_lives_is_no_crash(queue: Queue) -> None:
    # Given a message that is delivered again and again, since connections are cut while it runs
    for _ in range(4):
        assert queue.worker().before(queue.delivered()) == 0

    # Then only the worker that dies of it counts
    queue.worker(gone=True).before(queue.delivered())
    assert queue.worker().before(queue.delivered()) == (1 if isinstance(queue.broker, RedisBroker) else 2)


def test_what_has_ended_is_forgotten_as_soon_as_the_broker_is_back(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(key: str) -> None:
        raise ConnectionError("cut")

    # Given a message that has ended in a worker, which could not tell the broker
    worker, message = queue.worker(gone=True), queue.delivered()
    worker.before(message)
    with monkeypatch.context() as away:
        away.setattr(worker, "_forget", cut)
        worker.ended(message)

    # When the worker reaches the broker again, before it ends
    other = queue.delivered("2")
    worker.before(other)
    worker.ended(other)

    # Then nobody takes for a crash what has ended
    assert queue.worker().before(queue.delivered()) == 0


def test_a_first_delivery_costs_nothing(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, message = queue.worker(), queue.delivered(again=False)
    for method in ("_is_first_start", "_started", "_forget"):
        monkeypatch.setattr(worker, method, None)
    assert worker.before(message) == 0
    worker.ended(message)


def test_only_one_that_may_have_killed_its_worker_is_run_at_a_time(queue: Queue) -> None:
    # Given two messages that were being run when a worker died
    for identity in ("1", "2"):
        queue.worker(gone=True).before(queue.delivered(identity))
    worker, first, second = queue.worker(), queue.delivered("1"), queue.delivered("2")
    before = worker.before(first)
    # When both are delivered to another
    crashes: list[int] = []
    waiting = threading.Thread(target=lambda: crashes.append(worker.before(second)))
    waiting.start()
    # Then the second is neither run nor counted before the first has ended
    assert queue.worker().before(queue.delivered("1")) == before
    assert crashes == []
    worker.ended(first)
    waiting.join(30)
    assert crashes == [before]
    worker.ended(second)


@pytest.mark.valkey
def test_a_clock_that_is_ahead_does_not_keep_a_message_from_being_counted(valkey_url: str) -> None:
    broker: Any = RedisBroker(url=valkey_url)
    queue = Queue(broker)
    ahead = MessageProxy(queue.delivered().copy(message_timestamp=int(time.time() * 1000) + 3_600_000))
    queue.worker(gone=True).before(ahead)
    assert queue.worker().before(ahead) == 1
    broker.client.connection_pool.disconnect()


def test_a_broker_in_memory_counts_nothing() -> None:
    queue = Queue(StubBroker())
    assert [queue.worker().before(queue.delivered()) for _ in range(5)] == [0] * 5


@pytest.mark.valkey
def test_a_message_is_run_when_it_cannot_be_counted(
    valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue(RedisBroker(url=valkey_url, heartbeat_timeout=1))
    worker = queue.worker()
    worker._is_first_start = None  # type: ignore[method-assign,assignment]
    message = queue.delivered()
    assert worker.before(message) == 0
    worker.ended(message)
    assert "cannot be counted" in caplog.text
    queue.broker.client.connection_pool.disconnect()


@pytest.mark.valkey
def test_a_message_that_was_delivered_too_often_is_given_up_unrun(valkey_url: str, diary: Diary) -> None:
    with dramatiq_on_redis(valkey_url, max_crashes=2) as place:
        heard: list[Any] = []
        gave_up: list[Any] = []

        @dramatiq.actor(broker=place.broker, queue_name="events")
        def undertaker(message: Any, numbers: Any) -> None:
            gave_up.append(message["actor_name"])

        @place.handler.register(
            name="work", retry_when=lambda retries, error: True, on_retry_exhausted="undertaker"
        )
        def work(event: Event) -> None:
            heard.append(event)

        # Given a message of which two workers have died
        message = dramatiq.Message("events", "work", (ENVELOPE,), {}, {}, message_timestamp=MINUTES_AGO)
        queued = place.broker.enqueue(message)
        for _ in range(2):
            crash_counter_on(place.broker, who=lambda: GONE).before(MessageProxy(queued))
        # When a third gets it
        place.settle()
        # Then it is in the dead letters, whatever the subscription thinks of retries
        assert heard == []
        assert gave_up == ["work"]
        [dead] = place.dead()
        assert dead.report["reason"].startswith("DeliveredTooOften: its worker died 2 times")
        assert [rest["attempts"] for _, rest in diary.of("dead")] == [2]
        assert not list(place.broker.client.scan_iter(f"{place.broker.namespace}:events.starts.*"))


@pytest.mark.valkey
def test_a_retry_begins_to_count_anew(valkey_url: str) -> None:
    with dramatiq_on_redis(valkey_url) as place:
        heard: list[Any] = []

        @place.handler.register(name="work")
        def work(event: Event) -> None:
            heard.append(event)
            if len(heard) == 1:
                raise ValueError("no")

        message = dramatiq.Message("events", "work", (ENVELOPE,), {}, {}, message_timestamp=MINUTES_AGO)
        queued = place.broker.enqueue(message)
        for _ in range(2):  # one more would be too often
            crash_counter_on(place.broker, who=lambda: GONE).before(MessageProxy(queued))
        place.settle()

        assert len(heard) == 2
        assert place.dead() == []
