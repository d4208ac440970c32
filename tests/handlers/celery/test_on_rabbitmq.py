"""Many Celery messages with one wait, quorum queues, and what RabbitMQ refuses."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import celery
import pika
import pytest

from fastapi_events.errors import ConfigurationError, NotPublished
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.celery.publisher import CeleryPublisher
from fastapi_events.retry import RetryPolicy
from tests.places import celery_on_rabbitmq

pytestmark = pytest.mark.rabbitmq

QUEUE = "celery-publisher"


@pytest.fixture
def app(amqp_url: str) -> Iterator[celery.Celery]:
    app = celery.Celery("test", broker=amqp_url, set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def publisher(app: celery.Celery) -> Iterator[CeleryPublisher]:
    publisher = CeleryPublisher(app)
    yield publisher
    publisher.disconnect()


@pytest.fixture
def channel(amqp_url: str) -> Iterator[Any]:
    """What a test does behind our back."""
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    channel = connection.channel()
    channel.queue_delete(QUEUE)
    yield channel
    channel.queue_delete(QUEUE)
    connection.close()


def task(number: int, **options: Any) -> dict[str, Any]:
    return {"name": "work", "args": (number,), "task_id": str(uuid.uuid4()), "queue": QUEUE, **options}


def got(channel: Any) -> list[Any]:
    found = []
    while (message := channel.basic_get(QUEUE, auto_ack=True))[0] is not None:
        found.append(message)
    return found


def test_messages_are_persistent_and_their_queue_is_declared_before_the_first(
    publisher: CeleryPublisher, channel: Any
) -> None:
    tasks = [task(number) for number in range(100)]
    publisher.publish(tasks, timeout=5.0)

    found = got(channel)
    assert [properties.correlation_id for _, properties, _ in found] == [each["task_id"] for each in tasks]
    assert {properties.delivery_mode for _, properties, _ in found} == {2}
    channel.queue_declare(QUEUE, durable=True)


def test_one_connection_is_kept(publisher: CeleryPublisher, channel: Any, app: celery.Celery) -> None:
    for number in range(3):
        publisher.publish([task(number)], timeout=5.0)
    with publisher._connections.lent() as own:
        [kept] = own
        assert kept._published == 3


def test_a_queue_that_has_been_deleted_is_declared_again(publisher: CeleryPublisher, channel: Any) -> None:
    publisher.publish([task(1)], timeout=5.0)
    channel.queue_delete(QUEUE)
    publisher.publish([task(2), task(3)], timeout=5.0)
    assert len(got(channel)) == 2


def test_a_message_that_no_queue_takes_is_an_error_that_names_it(
    publisher: CeleryPublisher, channel: Any
) -> None:
    nowhere = {"name": "work", "args": (), "task_id": "1", "exchange": "amq.topic", "routing_key": "nowhere"}
    with pytest.raises(NotPublished, match="RabbitMQ has no queue 'nowhere'"):
        publisher.publish([nowhere, task(1)], timeout=5.0)
    assert len(got(channel)) == 1


def test_a_message_that_is_refused_is_an_error_that_names_the_queue(
    publisher: CeleryPublisher, channel: Any, app: celery.Celery
) -> None:
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    app.amqp.queues.add(QUEUE, exchange=QUEUE, queue_arguments=full)
    with pytest.raises(NotPublished, match=rf"refused 2 of 3 messages, for queue '{QUEUE}'"):
        publisher.publish([task(number) for number in range(3)], timeout=5.0)
    got(channel)
    publisher.publish([task(4)], timeout=5.0)


def test_a_queue_of_another_kind_is_an_error_that_names_it(publisher: CeleryPublisher, channel: Any) -> None:
    channel.queue_declare(QUEUE, durable=False)
    with pytest.raises(Exception, match=f"PRECONDITION_FAILED.*'{QUEUE}'"):
        publisher.publish([task(1)], timeout=5.0)


def test_the_event_that_celery_sends_of_each_task_is_counted_as_well(
    publisher: CeleryPublisher, channel: Any, app: celery.Celery
) -> None:
    app.conf.task_send_sent_event = True
    publisher.publish([task(1), task(2)], timeout=5.0)
    assert len(got(channel)) == 2


@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_quorum_queues_where_they_are_asked_for_keep_retries_in_the_broker(
    amqp_url: str, seconds: float
) -> None:
    retry = RetryPolicy(max_retries=2, min_backoff=seconds, max_backoff=seconds)
    with celery_on_rabbitmq(amqp_url, queue_type="quorum", retry=retry) as place:
        attempts: list[Any] = []

        @place.handler.register(event_name="hello", name="work", queue="kitchen")
        def work(event: Any) -> None:
            attempts.append(event)
            raise ValueError("never")

        place.work()  # a worker makes the queues where messages wait for their time
        place.dispatch("hello")

        assert len(attempts) == 3
        assert place.reasons("kitchen") == ["ValueError: never"]
        connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="x-queue-type"):
            connection.channel().queue_declare("kitchen", durable=True)
        connection.close()


def test_quorum_queues_are_rabbitmqs() -> None:
    app = celery.Celery("test", broker="redis://127.0.0.1:1/0", set_as_current=False)
    with pytest.raises(ConfigurationError, match="for RabbitMQ"):
        CeleryHandler(app, queue_type="quorum")
    app.close()


def test_nothing_waits_for_longer_than_a_consumer_may_hold_it(app: celery.Celery) -> None:
    patient = RetryPolicy(max_backoff=1_000.0)
    with pytest.raises(ConfigurationError, match="consumer_timeout, so that 900 s is the limit"):
        CeleryHandler(app, retry=patient)
    handler = CeleryHandler(app, retry=patient, longest_delay=3_600.0)
    assert handler.longest_delay == 3_600.0
    assert CeleryHandler(app, queue="other").longest_delay == 900.0
