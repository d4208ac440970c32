"""A message for a function that only other workers have, on its way to one of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import celery
import pytest

from fastapi_events.event import Event
from fastapi_events.handlers.celery import UNKNOWN, CeleryHandler
from fastapi_events.handlers.celery.passed_on import opened
from fastapi_events.storage.catalogue import Listing, Worker
from fastapi_events.storage.memory import MemoryCatalogue, MemoryStore
from tests.places import OnCelery, celery_on_rabbitmq, celery_on_redis
from tests.processes import until

ENVELOPE = '{"specversion":"1.0","id":"1","source":"x","type":"cat"}'
IN_AN_HOUR = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
AN_HOUR_AGO = (datetime.now(UTC) - timedelta(hours=1)).isoformat()


def passed(**differently: Any) -> dict[str, Any]:
    return {"task": "bill", "retries": 0, "eta": None, "expires": None, **differently}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(
    params=[
        pytest.param("valkey", marks=pytest.mark.valkey),
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    ]
)
def place(request: pytest.FixtureRequest, store: MemoryStore) -> Iterator[OnCelery]:
    """Celery on each broker."""
    on_valkey = request.param == "valkey"
    make = celery_on_redis if on_valkey else celery_on_rabbitmq
    with make(request.getfixturevalue("valkey_url" if on_valkey else "amqp_url"), store=store) as place:
        yield place


def publish(place: OnCelery, name: str, *args: Any, **options: Any) -> None:
    place.handler.engine._publisher.publish(
        [{"name": name, "args": args, "task_id": "m1", "queue": "events", **options}]
    )


def test_a_worker_that_has_the_function_runs_it_at_once_and_sends_the_message_to_nobody(
    place: OnCelery,
) -> None:
    got: list[tuple[str, int, str]] = []

    @place.handler.register(event_name="cat", name="bill")
    def bill(event: Event) -> None:
        request = place.app.current_task.request
        got.append((event.id, request.retries, request.task))

    place.work()
    publish(place, UNKNOWN, passed(retries=2), ENVELOPE, eta=datetime.fromisoformat(IN_AN_HOUR))
    until(lambda: got, "the function")

    assert got == [("1", 2, "bill")]
    assert [each.task for each in place.sent] == [UNKNOWN]


def test_a_message_of_the_old_protocol_is_run_as_well(place: OnCelery) -> None:
    place.app.conf.task_protocol = 1
    got: list[str] = []
    place.handler.register(lambda event: got.append(event.id), event_name="cat", name="bill")

    place.work()
    publish(place, UNKNOWN, passed(), ENVELOPE, eta=datetime.fromisoformat(IN_AN_HOUR))
    until(lambda: got, "the function")

    assert got == ["1"]


def test_a_message_that_expires_on_its_way_is_a_dead_letter(place: OnCelery, store: MemoryStore) -> None:
    got: list[str] = []
    place.handler.register(lambda event: got.append(event.id), event_name="cat", name="bill")

    publish(place, UNKNOWN, passed(expires=AN_HOUR_AGO), ENVELOPE)
    place.work()
    until(lambda: store.dead_letters.count() == 1, "the dead letter")

    assert [(each.subscription, each.reason) for each in store.dead_letters.list()] == [
        ("bill", "TaskRevokedError: expired")
    ]
    assert got == []


def test_a_message_that_expires_in_its_queue_is_not_dropped_by_the_broker(
    place: OnCelery, store: MemoryStore
) -> None:
    place.handler.register(print, event_name="cat", name="bill")

    publish(place, "bill", ENVELOPE, expires=datetime.fromisoformat(AN_HOUR_AGO))
    place.work()

    until(lambda: store.dead_letters.count() == 1, "the dead letter")
    assert [each.reason for each in store.dead_letters.list()] == ["TaskRevokedError: expired"]


def test_a_message_that_is_revoked_on_its_way_is_a_dead_letter(place: OnCelery, store: MemoryStore) -> None:
    place.handler.register(print, event_name="cat", name="mail")

    publish(place, UNKNOWN, passed(), ENVELOPE, expires=datetime.fromisoformat(AN_HOUR_AGO))
    place.work()
    until(lambda: store.dead_letters.count() == 1, "the dead letter")

    (letter,) = store.dead_letters.list()
    assert (letter.subscription, letter.argument, letter.reason) == (
        "bill", ENVELOPE, "TaskRevokedError: expired",
    )  # fmt: skip


@pytest.mark.parametrize("first", [None, 5, {}, {"task": 1, "retries": 0}, {"task": "bill"}])
def test_a_message_that_does_not_say_for_which_task_it_is_is_a_dead_letter(
    place: OnCelery, store: MemoryStore, first: Any
) -> None:
    place.handler.register(print, event_name="cat", name="bill")

    publish(place, UNKNOWN, first, ENVELOPE)
    place.work()
    until(lambda: store.dead_letters.count() == 1, "the dead letter")

    (letter,) = store.dead_letters.list()
    assert "its first argument does not say which task it is for" in letter.reason


class Received:
    """A message as kombu has received it, of the current protocol."""

    def __init__(self, name: str, *args: Any, **headers: Any) -> None:
        self.payload = [list(args), {}, {}]
        self.body = json.dumps(self.payload)
        self.headers = {"task": name, "id": "m1", "retries": 0, "eta": None, "expires": None, **headers}
        self.properties = {"priority": 5}
        self.delivery_info = {"routing_key": "events"}
        self.delivery_tag, self.accept, self.channel = "1", {"application/json"}, None


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"retries": 3}, False),
        ({"expires": IN_AN_HOUR}, False),
        ({"expires": AN_HOUR_AGO}, False),
        ({"eta": IN_AN_HOUR, "expires": IN_AN_HOUR, "retries": 1}, True),
    ],
    ids=["failed before", "expires", "has expired", "is delayed"],
)
def test_what_is_passed_on_arrives_as_it_was(headers: dict[str, Any], waits: bool, alive: bool) -> None:
    app = celery.Celery(broker="memory://", set_as_current=False)
    with app.connection() as connection:  # a broker in memory is one for the whole process
        connection.SimpleQueue("events").clear()
    catalogue = MemoryCatalogue()
    handler = CeleryHandler(app, catalogue=catalogue)
    worker = Worker(
        id="w", host="there", pid=1, engine="celery", queues=("events",), modules=("app.bills",),
        subscriptions=("bill",) if alive else (),
    )  # fmt: skip
    bill = Listing(name="bill", patterns=("cat",), queue="events", engine="celery", module="app.bills")
    catalogue.announce(handler.name, worker, [bill])

    message = Received("bill", ENVELOPE, **headers)
    handler.engine._tasks.keep_unknown(handler.worker, message, "bill", "m1", "events")

    with app.connection() as connection:
        sent: Any = connection.SimpleQueue("events").get_nowait()
    handler.fleet.leave()
    assert (sent.headers["eta"] is not None) == (waits or not alive)
    arrived = opened(sent, {"bill"})
    assert arrived.payload[0] == [ENVELOPE]
    assert {key: arrived.headers[key] for key in ("task", "id", "retries", "expires", "eta")} == {
        key: message.headers[key] for key in ("task", "id", "retries", "expires", "eta")
    }
    assert arrived.properties["priority"] == 5
    assert opened(sent, ()) is sent
