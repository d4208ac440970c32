"""What Celery's own means do with our tasks, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import celery
import pytest
from celery.exceptions import Ignore, Reject

from fastapi_events.event import Event
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.storage.catalogue import Listing, Worker
from fastapi_events.storage.memory import MemoryCatalogue, MemoryStore
from fastapi_events.storage.outbox import Entry
from tests.places import QUICK, OnCelery, celery_on_redis
from tests.processes import until
from tests.recording import Diary

ENVELOPE = '{"specversion":"1.0","id":"1","source":"shop","type":"cat"}'


class Retrying(celery.Task):  # type: ignore[misc]  # Celery comes without types
    """An application's base class for its own tasks."""

    autoretry_for = (Exception,)
    max_retries = 3
    retry_backoff = False
    default_retry_delay = 0
    acks_late = False
    acks_on_failure = False
    reject_on_worker_lost = False
    expires = 0.001


def test_an_applications_base_class_decides_nothing_about_our_tasks() -> None:
    app = celery.Celery(broker="memory://", set_as_current=False, task_cls=Retrying)
    handler = CeleryHandler(app)
    handler.register(lambda event: None, name="feed")

    for name in ("feed", "fastapi_events.fan_out", "fastapi_events.unknown"):
        task = app.tasks[name]
        assert not hasattr(task, "_orig_run"), name  # which Celery makes where it retries by itself
        assert (task.acks_late, task.reject_on_worker_lost, task.acks_on_failure) == (True, True, True)
        assert (task.acks_on_timeout, task.expires, task.ignore_result) == (False, None, True)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def place(valkey_url: str, store: MemoryStore) -> Iterator[OnCelery]:
    settings: dict[str, Any] = {
        "dead_letters": store.dead_letters, "lanes": store.lanes, "outbox": store.outbox, "relay": False,
        "confirm": "handled",
    }  # fmt: skip
    with celery_on_redis(valkey_url, **settings) as place:
        yield place


@pytest.mark.valkey
def test_a_base_class_that_retries_adds_no_runs(valkey_url: str, store: MemoryStore) -> None:
    with celery_on_redis(valkey_url, dead_letters=store.dead_letters) as place:
        app = celery.Celery(
            "retrying", broker=valkey_url, set_as_current=False, task_cls=Retrying,
            broker_transport_options=place.app.conf.broker_transport_options,
        )  # fmt: skip
        place.app, place.handler = app, CeleryHandler(app, retry=QUICK, dead_letters=store.dead_letters)
        runs: list[int] = []

        @place.handler.register(event_name="bad", name="hopeless")
        def hopeless(event: Event) -> None:
            runs.append(1)
            raise ValueError("never")

        place.dispatch("bad")

        assert len(runs) == 3
        assert [each.attempts for each in store.dead_letters.list()] == [3]


@pytest.mark.valkey
@pytest.mark.parametrize("error", [Ignore("not today"), Reject("not today", requeue=False)], ids=repr)
def test_what_a_function_drops_is_given_up_and_those_behind_it_go_on(
    place: OnCelery, store: MemoryStore, error: Exception
) -> None:
    got: list[int] = []

    @place.handler.register(event_name="cat", name="feed")
    def feed(event: Event) -> None:
        if event.payload == 1:
            raise error
        got.append(event.payload)

    for number in (1, 2):
        place.dispatch("cat", number, ordering_key="k")

    assert got == [2]
    [letter] = store.dead_letters.list()
    assert (letter.attempts, letter.reason.split(":")[0]) == (1, type(error).__name__)
    assert "not today" in letter.reason
    assert store.outbox.list() == []


@pytest.mark.valkey
def test_what_a_function_wants_back_in_its_queue_is_tried_again_and_then_given_up(
    place: OnCelery, store: MemoryStore
) -> None:
    runs: list[int] = []

    @place.handler.register(event_name="cat", name="feed")
    def feed(event: Event) -> None:
        runs.append(1)
        raise Reject("busy", requeue=True)

    place.dispatch("cat")

    assert len(runs) == 3
    assert [each.attempts for each in store.dead_letters.list()] == [3]


@pytest.mark.valkey
def test_a_message_that_has_expired_is_given_up_and_can_be_replayed(
    place: OnCelery, store: MemoryStore, diary: Diary
) -> None:
    got: list[str] = []
    place.handler.register(lambda event: got.append(event.id), event_name="cat", name="feed")
    event = (
        f'{{"specversion":"1.0","id":"1","source":"shop","type":"cat","receiptto":"{place.handler.name}"}}'
    )
    store.outbox.add([Entry(id="1", destination=place.handler.name, envelope=event, confirm="handled")])
    store.outbox.expect("1", place.handler.name, ["feed"])
    place.work()

    # Given a message that was to be handled before now
    place.handler.engine._publisher.publish(
        [{"name": "feed", "args": (event,), "task_id": "m1", "queue": "events",
          "expires": datetime.now(UTC) - timedelta(seconds=5)}]
    )  # fmt: skip
    until(lambda: diary.of("dead"), "the dead letter, of which observers hear once it is kept")

    [letter] = store.dead_letters.list()
    assert (letter.event_id, letter.subscription, letter.attempts) == ("1", "feed", 0)
    assert letter.reason == "TaskRevokedError: expired"
    assert [rest["reason"] for _, rest in diary.of("dead")] == [letter.reason]
    until(lambda: store.outbox.list() == [], "its receipt")

    # When it is replayed
    assert list(place.handler.replay_all()) == [1]
    until(lambda: got == ["1"], "its handling")


@pytest.mark.valkey
def test_a_message_that_somebody_revokes_is_given_up(place: OnCelery, store: MemoryStore) -> None:
    place.handler.register(lambda event: None, event_name="cat", name="feed")
    place.work()
    celery.worker.state.revoked.add("m1")

    place.handler.engine._publisher.publish(
        [{"name": "feed", "args": (ENVELOPE,), "task_id": "m1", "queue": "events"}]
    )
    until(lambda: store.dead_letters.count() == 1, "the dead letter")

    assert [each.reason for each in store.dead_letters.list()] == ["TaskRevokedError: revoked"]


class Outcome(BaseException):
    """As pytest's `fail` raises it."""


@pytest.mark.valkey
def test_an_error_above_exception_is_the_events_failure(place: OnCelery, store: MemoryStore) -> None:
    @place.handler.register(event_name="cat", name="feed")
    def feed(event: Event) -> None:
        raise Outcome("must not be called")

    place.dispatch("cat")

    assert [(each.attempts, each.reason) for each in store.dead_letters.list()] == [
        (3, "Outcome: must not be called")
    ]


def test_priority_and_expiry_of_a_function_that_only_others_have_travel_with_its_messages() -> None:
    app = celery.Celery(broker="memory://", set_as_current=False)
    with app.connection() as connection:  # a broker in memory is one for the whole process
        connection.SimpleQueue("events").clear()
    catalogue = MemoryCatalogue()
    handler = CeleryHandler(app, catalogue=catalogue)
    worker = Worker(id="w", host="there", pid=1, engine="celery", queues=("events",), modules=("app.bills",))
    bill = Listing(
        name="bill", patterns=("cat*",), queue="events", engine="celery", module="app.bills", priority=7,
        expires=60.0,
    )  # fmt: skip
    catalogue.announce(handler.name, worker, [bill])
    handler.fleet.look()

    handler.worker.fan_out([ENVELOPE])

    with app.connection() as connection:
        message = connection.SimpleQueue("events").get_nowait()
    handler.fleet.leave()
    assert message.headers["task"] == "bill"
    assert message.properties["priority"] == 7
    assert 0 < (datetime.fromisoformat(message.headers["expires"]) - datetime.now(UTC)).total_seconds() <= 60
