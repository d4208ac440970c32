"""A broker on Redis whose workers lose sight of no message, against a real server and a bad network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlparse

import dramatiq
import pytest
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import ConnectionClosed
from redis.backoff import NoBackoff
from redis.retry import Retry

from fastapi_events.handlers.dramatiq import DEAD
from fastapi_events.handlers.dramatiq.foreign_messages import UNREADABLE
from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
from fastapi_events.storage.memory import MemoryDeadLetters
from fastapi_events.typing import Event
from tests.full import full
from tests.places import Dramatiq
from tests.processes import until
from tests.proxy import Proxy
from tests.recording import Diary

pytestmark = pytest.mark.valkey

MakeBroker = Callable[..., SafeRedisBroker]


@pytest.fixture
def make_broker(valkey_url: str, request: pytest.FixtureRequest) -> Iterator[MakeBroker]:
    """Makes brokers that share an empty namespace, and forgets what they leave."""
    namespace = f"test-{request.node.nodeid}"
    made: list[Any] = []

    def make(port: int | None = None, **settings: Any) -> SafeRedisBroker:
        client = redis.Redis(
            host="127.0.0.1",
            port=port or urlparse(valkey_url).port or 0,
            socket_timeout=1,
            retry=Retry(NoBackoff(), 0),
        )
        made.append(SafeRedisBroker(client=client, namespace=namespace, **settings))
        return made[-1]

    yield make
    for broker in made:
        broker.client.connection_pool.disconnect()
    with redis.Redis.from_url(valkey_url) as client:
        for key in client.scan_iter(f"{namespace}:*".replace("[", "\\[").replace("]", "\\]")):
            client.delete(key)


@pytest.fixture
def place(make_broker: MakeBroker) -> Iterator[Dramatiq]:
    place = Dramatiq(make_broker())
    yield place
    place.close()


def push(broker: SafeRedisBroker, body: bytes, identity: str = "poison", queue: str = "events") -> None:
    """Put anything into a queue, as a program that does not know Dramatiq might."""
    broker.client.hset(f"{broker.namespace}:{queue}.msgs", identity, body)
    broker.client.rpush(f"{broker.namespace}:{queue}", identity)


def message(**fields: Any) -> bytes:
    whole = {
        "queue_name": "events", "actor_name": "work", "args": [], "kwargs": {},
        "options": {"redis_message_id": "poison"}, "message_id": "1", "message_timestamp": 1,
    }  # fmt: skip
    return json.dumps({**whole, **fields}).encode()


def acks(broker: SafeRedisBroker, queue: str = "events") -> set[bytes]:
    return set(broker.client.smembers(f"{broker.namespace}:__acks__.{broker.broker_id}.{queue}"))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no json", "failed to decode"),
        (b"\xff\xfe", "failed to decode"),
        (b"[]", "TypeError"),
        (b'{"args": []}', "missing"),
        (message(options=None), "options is a NoneType"),
        (message(kwargs=[]), "kwargs is a list"),
        (message(actor_name=[]), "actor_name is a list"),
        (message(message_id=[]), "message_id is a list"),
        (message(options={}), "redis_message_id is None"),
        (message(queue_name="elsewhere"), "queue_name is 'elsewhere'"),
    ],
)
def test_a_message_that_cannot_be_read_is_kept_and_its_neighbours_go_on(
    place: Dramatiq, diary: Diary, body: bytes, reason: str
) -> None:
    heard: list[int] = []

    @place.handler.register(name="work")
    def work(event: Event) -> None:
        heard.append(event.payload)

    # Given that it is fetched in one go with good ones
    for number in range(3):
        place.send(envelope_of(number))
    push(place.broker, body)
    for number in range(3, 6):
        place.send(envelope_of(number))
    # When a worker comes to them
    place.work()
    until(lambda: len(heard) == 6, "the handling of the neighbours")
    until(place.rejected, "the dead letter")
    # Then it is in the dead letters, and told
    [dead] = place.dead()
    assert (dead.task, reason in dead.report["reason"]) == (UNREADABLE, True), dead.report
    assert dead.arguments == (readable(body),)
    [(_, told)] = diary.of("dead")
    assert told == {"subscription": UNREADABLE, "reason": dead.report["reason"], "attempts": 0}
    place.settle()
    assert acks(place.broker) == set()


@pytest.mark.parametrize("body", [b"no json", b"\xff\xfe"])
def test_a_message_that_cannot_be_read_goes_to_the_handlers_own_dead_letters(
    make_broker: MakeBroker, body: bytes
) -> None:
    letters = MemoryDeadLetters()
    broker = make_broker()
    place = Dramatiq(broker, dead_letters=letters)
    push(broker, body)

    place.work()
    until(letters.count, "the dead letter")
    until(lambda: not acks(broker), "its acknowledgement")
    place.close()

    [letter] = letters.list()
    assert (letter.handler, letter.subscription, letter.queue) == ("dramatiq:events", UNREADABLE, "events")
    assert "failed to decode" in letter.reason
    assert letter.argument == ("no json" if body == b"no json" else '{"base64":"//4="}')
    assert place.rejected() == []
    assert not broker.client.exists(f"{broker.namespace}:events.msgs")


def test_where_the_store_is_full_dramatiq_keeps_what_cannot_be_read(make_broker: MakeBroker) -> None:
    broker = make_broker()
    place = Dramatiq(broker, dead_letters=full(MemoryDeadLetters()))
    push(broker, b"no json")

    place.work()
    until(place.rejected, "the dead letter")
    place.close()

    assert [dead.arguments for dead in place.dead()] == [("no json",)]


def test_a_message_with_the_id_of_another_is_not_delivered_for_ever(make_broker: MakeBroker) -> None:
    broker = make_broker(heartbeat_timeout=1)
    push(broker, message(options={"redis_message_id": "another"}))
    consumer = broker.consume("events", prefetch=1, timeout=10)
    [taken] = take(consumer, 1)
    consumer.ack(taken)
    until(lambda: next(consumer) is None and not acks(broker), "the dead letter")
    [dead] = broker.client.hvals(f"{broker.namespace}:events.XQ.msgs")
    assert "redis_message_id is 'another'" in dramatiq.Message.decode(dead).options[DEAD]["reason"]


def envelope_of(number: int) -> str:
    return json.dumps({"specversion": "1.0", "id": str(number), "type": "hello", "data": number})


def readable(body: bytes) -> Any:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return '{"base64":"//4="}'


# Messages that Redis believes to be here


@pytest.fixture
def proxy(valkey_url: str) -> Iterator[Proxy]:
    with Proxy(urlparse(valkey_url).port or 0) as proxy:
        yield proxy


def send(broker: SafeRedisBroker, count: int, *, delay: int | None = None) -> None:
    for number in range(count):
        broker.enqueue(dramatiq.Message("events", "work", (number,), {}, {}), delay=delay)


def take(consumer: Any, count: int) -> list[Any]:
    """The next messages, however often the consumer comes back with nothing."""
    taken: list[Any] = []

    def enough() -> bool:
        taken.extend(each for each in [next(consumer)] if each is not None)
        return len(taken) == count

    until(enough, f"the arrival of {count} messages")
    return taken


def test_messages_whose_fetch_never_arrived_are_fetched_again(make_broker: MakeBroker, proxy: Proxy) -> None:
    # Given messages that are lost on the way to the worker
    send(make_broker(), 5)
    worker = make_broker(proxy.port)
    proxy.swallow(bigger_than=500, at_most=1)
    consumer = worker.consume("events", prefetch=10, timeout=10)
    assert next(consumer) is None
    assert len(acks(make_broker_of(worker, make_broker))) == 5
    # When it looks again, then they arrive
    assert sorted(each.args[0] for each in take(consumer, 5)) == [0, 1, 2, 3, 4]


def make_broker_of(worker: SafeRedisBroker, make_broker: MakeBroker) -> SafeRedisBroker:
    """The worker's broker, past the proxy."""
    direct = make_broker()
    direct.broker_id = worker.broker_id
    return direct


def test_a_fetch_that_the_client_repeats_by_itself_leaves_nothing_behind(
    make_broker: MakeBroker, proxy: Proxy
) -> None:
    # Given a client that asks again when no answer comes, so that nobody hears of the first one's messages
    send(make_broker(), 5)
    worker = make_broker(proxy.port, heartbeat_timeout=1)  # looks at what it holds all the time
    worker.client = redis.Redis(
        host="127.0.0.1", port=proxy.port, socket_timeout=1, retry=Retry(NoBackoff(), 1)
    )
    worker.scripts = {
        name: worker.client.register_script(script.script) for name, script in worker.scripts.items()
    }
    proxy.swallow(bigger_than=500, at_most=1)
    consumer = worker.consume("events", prefetch=10, timeout=10)
    assert sorted(each.args[0] for each in take(consumer, 5)) == [0, 1, 2, 3, 4]
    assert proxy.swallowed == 1
    worker.client.close()


def test_what_a_worker_has_in_hand_stays_there(make_broker: MakeBroker) -> None:
    worker = make_broker(heartbeat_timeout=1)
    send(worker, 3)
    consumer = worker.consume("events", prefetch=3, timeout=10)
    [first, second, third] = take(consumer, 3)
    consumer.ack(first)
    consumer.nack(second)
    for _ in range(10):
        assert next(consumer) is None
    # Another consumer of the same worker, after a broken connection
    again = worker.consume("events", prefetch=3, timeout=10)
    for _ in range(10):
        assert next(again) is None
    again.ack(third)
    assert acks(worker) == set()
    assert worker.client.hlen(f"{worker.namespace}:events.msgs") == 0


def test_delayed_messages_survive_a_broken_connection(make_broker: MakeBroker) -> None:
    # Given retries that wait in the memory of a consumer
    worker = make_broker()
    send(worker, 3, delay=60_000)
    take(worker.consume("events.DQ", prefetch=10, timeout=10), 3)
    # When the consumer's thread drops them, as Dramatiq's does after a connection error, and opens another
    again = worker.consume("events.DQ", prefetch=10, timeout=10)
    # Then they wait there
    assert sorted(each.args[0] for each in take(again, 3)) == [0, 1, 2]


def test_what_was_fetched_and_not_begun_is_given_back_at_the_end(make_broker: MakeBroker) -> None:
    worker = make_broker()
    send(worker, 5)
    consumer = worker.consume("events", prefetch=5, timeout=10)
    [begun] = take(consumer, 1)
    consumer.close()
    assert acks(worker) == {begun.options["redis_message_id"].encode()}
    assert len(take(make_broker().consume("events", prefetch=5, timeout=10), 4)) == 4


def test_an_acknowledgement_that_times_out_can_be_repeated(make_broker: MakeBroker, proxy: Proxy) -> None:
    worker = make_broker(proxy.port)
    send(worker, 1)
    consumer = worker.consume("events", prefetch=1, timeout=10)
    [message] = take(consumer, 1)
    proxy.swallow(at_most=1)
    with pytest.raises(ConnectionClosed):  # upon which Dramatiq tries again
        consumer.ack(message)
    consumer.ack(message)
    assert acks(worker) == set()


def test_messages_that_cannot_be_given_back_do_not_end_the_consumers_thread(
    make_broker: MakeBroker, proxy: Proxy
) -> None:
    worker = make_broker(proxy.port)
    send(worker, 1, delay=60_000)
    consumer = worker.consume("events.DQ", prefetch=1, timeout=10)
    messages = take(consumer, 1)
    proxy.swallow()
    for end in (lambda: consumer.requeue(messages), consumer.close):
        with pytest.raises(ConnectionClosed):  # the one error that it expects here
            end()


def test_a_worker_on_a_bad_network_handles_everything(
    make_broker: MakeBroker, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.05)
    sender = make_broker()
    place = Dramatiq(make_broker(proxy.port))
    heard: set[int] = set()

    @place.handler.register(name="work")
    def work(event: Event) -> None:
        heard.add(event.payload)

    # Given a network that loses every fourth fetch
    for number in range(60):
        sender.enqueue(dramatiq.Message("events", "fastapi_events.fan_out", (envelope_of(number),), {}, {}))
    proxy.swallow(every=4, bigger_than=400, at_most=4)
    place.work()
    until(lambda: len(heard) == 60, "the handling of all messages")
    assert proxy.swallowed >= 1
    # Then nothing is left behind
    until(lambda: sender.client.hlen(f"{sender.namespace}:events.msgs") == 0, "the last acknowledgement")
    place.close()


def test_dramatiqs_own_broker_may_be_on_the_other_side(make_broker: MakeBroker, valkey_url: str) -> None:
    ours = make_broker()
    theirs = RedisBroker(url=valkey_url, namespace=ours.namespace)
    theirs.enqueue(dramatiq.Message("events", "work", (1,), {}, {}))
    [message] = take(ours.consume("events", prefetch=1, timeout=10), 1)
    assert message.args == (1,)
    assert DEAD not in message.options
    theirs.client.close()
