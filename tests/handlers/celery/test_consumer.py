"""What Celery would drop or die of is kept, with its reason, by the handler whose queue it was in."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import celery
import pytest
from celery.contrib.testing.worker import start_worker
from celery.worker.consumer import Consumer
from kombu.exceptions import OperationalError

from fastapi_events.event import Event
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.celery import consumer as consumer_module
from fastapi_events.handlers.celery.consumer import KeepingConsumer, address_of
from fastapi_events.handlers.celery.redis_transport import Channel
from fastapi_events.storage.memory import MemoryDeadLetters
from tests.places import QUICK, OnCelery, celery_on_rabbitmq, celery_on_redis
from tests.ports import free_port
from tests.processes import until
from tests.proxy import Proxy
from tests.recording import Diary


@pytest.fixture(
    params=[
        pytest.param("valkey", marks=pytest.mark.valkey),
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    ]
)
def place(request: pytest.FixtureRequest) -> Iterator[OnCelery]:
    """Celery on each broker."""
    if request.param == "valkey":
        with celery_on_redis(request.getfixturevalue("valkey_url")) as place:
            yield place
    else:
        with celery_on_rabbitmq(request.getfixturevalue("amqp_url")) as place:
            yield place


@pytest.fixture
def on_valkey(valkey_url: str) -> Iterator[OnCelery]:
    with celery_on_redis(valkey_url) as place:
        yield place


HEADERS = {"task": "hello", "id": "1"}
ENVELOPE = '{"specversion":"1.0","id":"1","source":"x","type":"hello"}'
GOOD = json.dumps([[ENVELOPE], {}, {}])


def put(place: OnCelery, body: Any, queue: str = "events", **options: Any) -> None:
    """Put a message into a queue as it is."""
    options = {
        "headers": HEADERS, "content_type": "application/json", "content_encoding": "utf-8", **options,
    }  # fmt: skip
    with place.app.connection_for_write() as connection:
        place.app.amqp.queues[queue](connection).declare()
        producer = connection.Producer(auto_declare=False)
        producer.publish(body, routing_key=queue, **options)


STRANGE: dict[str, tuple[Any, dict[str, Any], str]] = {
    "not-json": ("{not json", {}, "DecodeError"),
    "pickle": (b"\x80\x04.", {"content_type": "application/x-python-serialize", "content_encoding": "binary"},
               "ContentDisallowed"),
    "no-task": (GOOD, {"headers": {"id": "1"}}, "no header names a task"),
    "no-id": (GOOD, {"headers": {"task": "hello"}}, "id is a NoneType, not a str"),
    "task-is-a-list": (GOOD, {"headers": {"task": ["x"], "id": "1"}}, "task is a list, not a str"),
    "no-arguments": ("5", {}, "the body holds no arguments of a task"),
    "text": ("[1", {"content_type": "text/plain"}, "ContentDisallowed"),
    "retries": (GOOD, {"headers": {**HEADERS, "retries": "x"}}, "retries is a str, not an int"),
    "time-limit": (GOOD, {"headers": {**HEADERS, "timelimit": [1]}}, "timelimit is no pair of seconds"),
    "due-at": (GOOD, {"headers": {**HEADERS, "eta": "some day"}}, "InvalidTaskError"),
    "compressed": (GOOD, {"headers": {**HEADERS, "compression": "gzip"}}, "for the task 'hello'"),
}  # fmt: skip


def test_what_is_no_message_of_a_task_is_a_dead_letter(place: OnCelery, diary: Diary) -> None:
    heard: list[Any] = []
    place.handler.register(event_name="hello", name="hello")(lambda event: heard.append(event.payload))

    for body, options, _ in STRANGE.values():
        put(place, body, **options)
    place.work()
    until(lambda: len(diary.of("dead")) == len(STRANGE), "as many dead letters")
    place.dispatch("hello", 1)

    assert heard == [1]  # the worker has gone on
    assert len(place.dead()) == len(STRANGE)
    for dead, (body, _, fault) in zip(place.dead(), STRANGE.values(), strict=True):
        assert dead.task == "fastapi_events.unreadable"
        original = '{"base64":"gAQu"}' if isinstance(body, bytes) else body
        assert dead.arguments == (original,)
        assert dead.report["reason"].startswith("UnreadableEnvelope: no message that a worker can take")
        assert fault in dead.report["reason"]


def test_it_goes_to_the_store_of_the_handler_whose_queue_it_was_in(valkey_url: str, diary: Diary) -> None:
    first, second = MemoryDeadLetters(), MemoryDeadLetters()
    with celery_on_redis(valkey_url, dead_letters=first) as place:
        # Given: two handlers on one app, and messages in the queue of the second
        other = CeleryHandler(place.app, queue="other", unknown_retry=QUICK, dead_letters=second)
        put(place, "{not json", queue="other")
        put(place, GOOD, queue="other", headers={"task": "not.deployed.yet", "id": "2"})

        # When: one worker consumes both
        with start_worker(
            place.app, pool="threads", concurrency=2, perform_ping_check=False, loglevel="critical",
            queues=sorted({*place.queues, *other.queues}),
        ) as worker:  # fmt: skip
            until(lambda: len(diary.of("dead")) == 2, "two dead letters")
            place.app.control.shutdown(destination=[worker.hostname])

    # Then: their dead letters are those of the second
    assert list(first.list(limit=10)) == []
    letters = {letter.subscription: letter for letter in second.list(limit=10)}
    assert letters["fastapi_events.unreadable"].argument == "{not json"
    assert letters["not.deployed.yet"].event_id == "1"
    assert {letter.queue for letter in letters.values()} == {"other"}
    assert {letter.handler for letter in letters.values()} == {"celery:other"}


def test_a_very_large_body_is_cut(place: OnCelery) -> None:
    place.work()
    put(place, "x" * 1_500_000)
    until(place.dead, "the dead letter")

    [dead] = place.dead()
    assert dead.arguments == ("x" * 1_048_576,)
    assert "cut to 1,048,576 of 1,500,000" in dead.report["reason"]


@pytest.mark.valkey
def test_messages_in_queues_that_are_not_ours_are_left_to_celery(on_valkey: OnCelery) -> None:
    consumer = KeepingConsumer.__new__(KeepingConsumer)
    consumer.app = on_valkey.app

    class Message:
        delivery_info = {"routing_key": "somebody-elses"}  # noqa: RUF012

    assert consumer._keep(Message(), lambda responsible, queue: pytest.fail("kept")) is False


@pytest.mark.valkey
def test_an_unknown_task_is_published_before_it_is_acknowledged(
    on_valkey: OnCelery, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: a broker that is away when a message comes for a task that the worker does not have, and is back
    attempts: list[int] = []
    unacknowledged: list[int] = []
    publisher = on_valkey.handler.engine._publisher
    publish = publisher.publish

    def unreliable(messages: Any, **options: Any) -> None:
        attempts.append(1)
        unacknowledged.append(on_valkey.redis.hlen(f"{on_valkey.prefix}unacked"))
        if len(attempts) < 3:
            raise ConnectionError("the broker is away")
        publish(messages, **options)

    monkeypatch.setattr(publisher, "publish", unreliable)

    # When
    on_valkey.send(ENVELOPE, task="not.deployed.yet")
    on_valkey.settle()

    # Then: it was in the broker all the time, and ends among the dead letters
    assert unacknowledged[:3] == [1, 1, 1]
    assert on_valkey.reasons() == ["UnknownSubscription: no worker of this queue has 'not.deployed.yet'"]


@pytest.mark.valkey
def test_the_old_protocol_of_celery_is_understood(on_valkey: OnCelery) -> None:
    heard: list[str] = []

    @on_valkey.handler.register(event_name="hello", name="hello")
    def hello(event: Event) -> None:
        heard.append(event.id)

    for task in ("hello", "not.deployed.yet"):
        body = {"task": task, "id": task, "args": [ENVELOPE], "kwargs": {}}
        put(on_valkey, json.dumps(body), headers={})
    on_valkey.settle()

    assert heard == ["1"]
    assert on_valkey.reasons() == ["UnknownSubscription: no worker of this queue has 'not.deployed.yet'"]


@pytest.mark.valkey
def test_a_consumer_that_the_app_has_chosen_stays_and_the_log_tells_what_it_misses(
    on_valkey: OnCelery, caplog: pytest.LogCaptureFixture
) -> None:
    class Mine(Consumer):  # type: ignore[misc]  # Celery comes without types
        pass

    class Ours(KeepingConsumer):
        pass

    logger = "fastapi_events.handlers.celery.consumer"
    for chosen, warnings in ((Mine, 1), (Ours, 0)):
        caplog.clear()
        worker = worker_of(on_valkey.app, chosen)
        with caplog.at_level(logging.WARNING, logger):
            celery.signals.worker_init.send(sender=worker)
        assert worker.consumer_cls is chosen
        assert len([each for each in caplog.records if each.name == logger]) == warnings


def worker_of(app: celery.Celery, consumer: Any) -> Any:
    class Worker:
        pass

    worker: Any = Worker()
    worker.app, worker.consumer_cls = app, consumer
    return worker


def _no_message(**parts: Any) -> str:
    """What looks like a message of kombu's, but for a part of it."""
    delivery = {"exchange": "", "routing_key": "events"}
    properties = {"delivery_tag": "1", "body_encoding": "base64", "delivery_info": delivery}
    return json.dumps({"body": "", "headers": {}, "properties": properties, **parts})


@pytest.mark.valkey
@pytest.mark.parametrize(
    "raw",
    ["{not json", b"\xff\xfe", "5", "{}", '{"properties": {}}', '{"properties": {"delivery_tag": "1"}}',
     '{"body": "%%%", "properties": {"delivery_tag": "1", "body_encoding": "base64", "delivery_info": []}}',
     _no_message(body="e"), _no_message(headers={"a": {"__type__": "none", "__value__": 1}})],
)  # fmt: skip
def test_what_is_no_message_at_all_is_a_dead_letter_on_redis(valkey_url: str, raw: Any, diary: Diary) -> None:
    with celery_on_redis(valkey_url) as place:
        place.app.conf.broker_transport = f"{Channel.__module__}:Transport"
        heard: list[Any] = []
        place.handler.register(event_name="hello", name="hello")(lambda event: heard.append(event.payload))

        place.redis.lpush(f"{place.prefix}events", raw)
        place.work()
        until(lambda: diary.of("dead"), "the dead letter")
        place.dispatch("hello", 1)

        assert heard == [1]
        [dead] = place.dead()
        assert dead.arguments == ('{"base64":"//4="}' if isinstance(raw, bytes) else raw,)


def consumer_that_was_connected(**settings: Any) -> KeepingConsumer:
    consumer = object.__new__(KeepingConsumer)
    consumer.app, consumer.first_connection_attempt = celery.Celery(set_as_current=False), False
    consumer.app.conf.update(broker_connection_retry_on_startup=True, **settings)
    return consumer


def refused_connection() -> Any:
    """To a port where nobody listens yet."""
    return celery.Celery(broker=f"redis://127.0.0.1:{free_port()}/0", set_as_current=False).connection()


@pytest.mark.valkey
def test_after_a_loss_it_connects_as_soon_as_the_broker_is_back(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(consumer_module, "_AGAIN_SECONDS", 0.01)
    server = urlsplit(valkey_url)
    with Proxy(server.port or 6379) as proxy:
        proxy.lead_to(1)
        url = valkey_url.replace(f":{server.port}", f":{proxy.port}")
        connection = celery.Celery(broker=url, set_as_current=False).connection()
        looks = iter(range(3))
        # When the broker is back after three attempts
        monkeypatch.setattr(
            consumer_module, "maybe_shutdown",
            lambda: None if next(looks, None) is not None else proxy.lead_to(server.port or 6379),
        )  # fmt: skip

        consumer_that_was_connected().ensure_connected(connection)

        # Then Celery, which would have waited for two seconds and then for four, has not been asked
        assert connection.connected
        assert caplog.text.count("and try again every 0.0 s") == 1
        assert "Trying again in" not in caplog.text
        connection.release()


def test_what_lasts_longer_is_left_to_celery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(consumer_module, "_OFTEN_SECONDS", 0.02)
    with pytest.raises(OperationalError):
        consumer_that_was_connected(broker_connection_max_retries=0).ensure_connected(refused_connection())


def test_an_app_that_is_not_to_connect_again_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "_OFTEN_SECONDS", 3_600.0)
    with pytest.raises(Exception, match="refused"):
        consumer_that_was_connected(broker_connection_retry=False).ensure_connected(refused_connection())


@pytest.mark.parametrize(("url", "confirms"), [("amqp://localhost", False), ("redis://localhost", True)])
def test_nobody_waits_for_confirms_of_what_celery_tells_other_workers(
    url: str, confirms: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeepingConsumer, "ensure_connected", lambda self, connection: connection)
    consumer = consumer_that_was_connected(broker_url=url, broker_transport_options={"confirm_publish": True})

    assert consumer.connection_for_write().transport_options == {"confirm_publish": confirms}


@pytest.mark.parametrize("transport", [None, "fastapi_events.handlers.celery.redis_transport:Transport"])
def test_the_address_of_a_broker_is_spelled_as_people_write_it(transport: str | None) -> None:
    app = celery.Celery("shop", broker="redis://:secret@localhost:6390/3", set_as_current=False)
    app.conf.broker_transport = transport

    assert address_of(app.connection_for_read()) == "redis://:**@localhost:6390/3"


def test_a_lost_connection_that_cannot_be_closed_does_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def close(consumer: Consumer, error: Exception) -> None:
        raise AttributeError("'NoneType' object has no attribute 'hostname'")

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(Consumer, "on_connection_error_after_connected", close)

    KeepingConsumer.__new__(KeepingConsumer).on_connection_error_after_connected(OSError("lost"))

    assert caplog.messages == [
        "A lost connection could not be closed in order: 'NoneType' object has no attribute 'hostname'"
    ]
