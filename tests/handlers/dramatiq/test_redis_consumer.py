"""An idle worker waits in the server, whoever sends; only conditions are waited for, and no time is measured.

What shows it is a consumer whose timeout is far longer than a test may take: it comes back for a reason, or
not at all.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import current_millis

from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
from tests.processes import PATIENCE_SECONDS, until

pytestmark = pytest.mark.valkey

FOR_EVER = 3_600_000

MakeBroker = Callable[..., SafeRedisBroker]


@pytest.fixture
def make_broker(valkey_url: str) -> Iterator[MakeBroker]:
    """Makes brokers that share an empty namespace, and whose connections bear its name."""
    namespace = f"test-{uuid.uuid4()}"
    made: list[Any] = []

    def make(**settings: Any) -> SafeRedisBroker:
        client = redis.Redis.from_url(valkey_url, client_name=namespace, **settings.pop("client", {}))
        made.append(SafeRedisBroker(client=client, namespace=namespace, **settings))
        return made[-1]

    yield make
    with redis.Redis.from_url(valkey_url) as client:
        for key in client.scan_iter(f"{namespace}:*"):
            client.delete(key)
    for broker in made:
        broker.client.connection_pool.disconnect()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def send(broker: RedisBroker, number: int = 1, *, queue: str = "events", delay: int | None = None) -> None:
    broker.enqueue(dramatiq.Message(queue, "work", (number,), {}, {}), delay=delay)


def next_of(consumer: Any) -> Any:
    """The next message, however often the consumer comes back with nothing."""
    while True:
        message = next(consumer)
        if message is not None:
            return message


def waiting(broker: SafeRedisBroker) -> list[int]:
    """The connections that wait in the server for this test."""
    clients: Any = broker.client.client_list()
    return [
        each["id"] for each in clients if each["name"] == broker.namespace and each["cmd"] == "blmove"
        and "b" in each["flags"]
    ]  # fmt: skip


def got(future: Future[Any]) -> int:
    return int(future.result(PATIENCE_SECONDS).args[0])


def test_a_plain_send_of_anybody_ends_the_waiting(
    make_broker: MakeBroker, threads: ThreadPoolExecutor, valkey_url: str
) -> None:
    broker = make_broker()
    # Given idle consumers of two queues, and of one of them another worker's
    consumers = [
        broker.consume("events", prefetch=2, timeout=FOR_EVER),
        broker.consume("kitchen", prefetch=2, timeout=FOR_EVER),
        make_broker().consume("events", prefetch=2, timeout=FOR_EVER),
    ]
    mine, kitchen, theirs = [threads.submit(next_of, each) for each in consumers]
    until(lambda: len(waiting(broker)) == 3, "the waiting of all three")
    # When Dramatiq's own broker sends to one queue
    plain = RedisBroker(url=valkey_url, namespace=broker.namespace)
    send(plain, 1)
    # Then one of the two has it, and the other waits again
    until(lambda: mine.done() or theirs.done(), "the arrival")
    until(lambda: len(waiting(broker)) == 2, "the waiting of the other")
    assert not kitchen.done()
    # And so on
    send(plain, 2)
    send(plain, 3, queue="kitchen")
    assert sorted([got(mine), got(theirs), got(kitchen)]) == [1, 2, 3]
    for each in consumers:
        each.close()
    plain.client.close()


def test_a_delayed_message_is_handed_over_when_its_time_has_come(make_broker: MakeBroker) -> None:
    broker = make_broker()
    consumer = broker.consume("events.DQ", prefetch=10, timeout=FOR_EVER)
    # Given messages that wait in this worker's memory for their time
    send(broker, delay=FOR_EVER)
    send(broker, delay=300)
    eta = min(next_of(consumer).options["eta"], next_of(consumer).options["eta"])
    # Then it comes back for the first of them, and for Dramatiq to enqueue it
    until(lambda: next(consumer) is None and current_millis() >= eta, "the time")
    consumer.close()


def test_a_message_that_is_gone_is_waited_for_no_longer(
    make_broker: MakeBroker, threads: ThreadPoolExecutor
) -> None:
    broker = make_broker()
    consumer = broker.consume("events.DQ", prefetch=10, timeout=FOR_EVER)
    send(broker, 1, delay=1)
    due = next_of(consumer)
    until(lambda: next(consumer) is None and current_millis() >= due.options["eta"], "the time")
    consumer.ack(due)
    # Then only another one ends the waiting
    arrival = threads.submit(next_of, consumer)
    until(lambda: waiting(broker), "the waiting")
    send(broker, 2, delay=FOR_EVER)
    assert got(arrival) == 2
    consumer.close()


def test_a_worker_with_its_hands_full_waits_for_no_more(
    make_broker: MakeBroker, threads: ThreadPoolExecutor
) -> None:
    broker = make_broker()
    consumer = broker.consume("events", prefetch=2, timeout=FOR_EVER)
    for number in range(3):
        send(broker, number)
    first, second = next_of(consumer), next_of(consumer)
    for _ in range(3):
        assert next(consumer) is None
    assert waiting(broker) == []
    third = threads.submit(next_of, consumer)
    consumer.ack(first)
    assert got(third) == 2
    consumer.ack(second)
    consumer.close()


def test_a_worker_that_was_paused_goes_on_with_the_connection_that_waits(make_broker: MakeBroker) -> None:
    broker = make_broker()
    assert next(broker.consume("events", timeout=0)) is None
    until(lambda: len(waiting(broker)) == 1, "the waiting")
    again = broker.consume("events", timeout=0)  # Dramatiq's thread makes another one, and closes none
    for _ in range(3):
        assert next(again) is None
    assert len(waiting(broker)) == 1
    send(broker)
    assert next_of(again).args == (1,)
    again.close()


def test_a_consumer_that_is_closed_waits_no_longer(make_broker: MakeBroker) -> None:
    broker = make_broker()
    consumer = broker.consume("events", timeout=0)
    next(consumer)
    until(lambda: waiting(broker), "the waiting")
    consumer.close()
    until(lambda: not waiting(broker), "the end of it")


def test_a_worker_stops_while_its_consumers_wait(make_broker: MakeBroker) -> None:
    broker = make_broker()
    done = threading.Event()
    dramatiq.actor(lambda number: done.set(), actor_name="work", queue_name="events", broker=broker)
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=100)
    worker.start()
    until(lambda: len(waiting(broker)) == 2, "the waiting for messages, and for delayed ones")
    send(broker)
    assert done.wait(PATIENCE_SECONDS)
    worker.stop()
    assert not any(each.is_alive() for each in worker.consumers.values())
    until(lambda: not waiting(broker), "the end of all waiting")


def test_a_consumer_outlives_its_connection_and_says_so_once(
    make_broker: MakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    broker = make_broker()
    consumer = broker.consume("events", timeout=PATIENCE_SECONDS * 1000)
    next(consumer)
    until(lambda: waiting(broker), "the waiting")
    broker.client.client_kill_filter(_id=str(waiting(broker)[0]))
    assert next(consumer) is None
    send(broker)
    assert next_of(consumer).args == (1,)
    assert caplog.text.count("does not reach Redis, and tries again every 0.5 s") == 1
    assert caplog.text.count("reaches Redis again") == 1
    consumer.close()


def test_where_a_worker_cannot_wait_it_looks_and_says_so_once(
    make_broker: MakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    anybody, user = make_broker(), f"user-{uuid.uuid4()}"
    anybody.client.acl_setuser(
        user, enabled=True, passwords=["+x"], keys=["*"], commands=["+@all", "-blmove"]
    )
    broker = make_broker(client={"username": user, "password": "x"})
    consumers = [broker.consume(queue, timeout=10) for queue in ("events", "kitchen")]
    with caplog.at_level(logging.WARNING):
        for consumer in consumers:
            until(lambda each=consumer: next(each) is None and not broker.can_wait, "the refusal")  # type: ignore[misc]
    send(broker)
    assert next_of(consumers[0]).args == (1,)
    assert [each.message for each in caplog.records if "let workers wait" in each.message] != []
    assert sum("let workers wait" in each.message for each in caplog.records) == 1
    for consumer in consumers:
        consumer.close()
    anybody.client.acl_deluser(user)


@pytest.mark.parametrize(("chance", "is_back"), [(1, True), (0, False)])
def test_an_idle_worker_takes_back_what_a_dead_one_held(
    make_broker: MakeBroker, chance: int, is_back: bool
) -> None:
    dead = make_broker(heartbeat_timeout=50, maintenance_chance=0)
    send(dead)
    abandoned = dead.consume("events", timeout=0)
    assert next_of(abandoned).args == (1,)
    # When a worker that next to never looks for dead ones has nothing else to do
    broker = make_broker(heartbeat_timeout=50, maintenance_chance=chance)
    consumer = broker.consume("events", timeout=10)
    if is_back:
        assert next_of(consumer).args == (1,)
    else:
        heartbeats = f"{broker.namespace}:__heartbeats__"
        shown: Any = broker.client.zscore(heartbeats, broker.broker_id) or 0
        until(
            lambda: (
                next(consumer) is None and broker.client.zscore(heartbeats, broker.broker_id) > shown + 200
            ),
            "several signs of life",
        )
        assert broker.client.llen(f"{broker.namespace}:events") == 0
    consumer.close()
