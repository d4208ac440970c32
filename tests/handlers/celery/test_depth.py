"""Depths of a Celery app's queues, beyond what holds for every engine."""

from __future__ import annotations

import time
import uuid
from typing import Any

import celery
import pytest
import redis

from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.celery.depth import dead_queue, depths


@pytest.fixture
def app(valkey_url: str) -> Any:
    app = celery.Celery("depth", broker=valkey_url, set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": f"{uuid.uuid4()}:"}
    return app


@pytest.mark.valkey
def test_messages_of_every_priority_count(app: Any) -> None:
    for priority in (0, 3, 9):
        app.send_task("any", args=("x",), queue="events", priority=priority)

    [found, other] = depths(app, ["events", "other"], timeout=5.0)

    assert (found.ready, found.in_hand, found.dead) == (3, 0, 0)
    assert found.oldest is None  # they carry no event
    assert other.ready == 0


@pytest.mark.valkey
def test_what_is_no_message_of_celery_is_counted_and_has_no_age(app: Any, valkey_url: str) -> None:
    prefix = app.conf.broker_transport_options["global_keyprefix"]
    with redis.Redis.from_url(valkey_url) as client:
        client.lpush(f"{prefix}events", "no message")

    [found] = depths(app, ["events"], timeout=5.0)

    assert (found.ready, found.oldest) == (1, None)


@pytest.mark.valkey
def test_dead_letters_that_celery_keeps_are_counted(app: Any) -> None:
    app.send_task("any", args=("x",), queue=dead_queue("events"))

    [found] = depths(app, ["events"], timeout=5.0)

    assert (found.ready, found.dead) == (0, 1)


def test_a_server_that_is_away_is_told_soon() -> None:
    app = celery.Celery("away", broker="redis://127.0.0.1:1/0", set_as_current=False)
    since = time.monotonic()

    with pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
        depths(app, ["events"], timeout=1.0)

    assert time.monotonic() - since < 30


def test_tasks_that_run_in_place_wait_nowhere() -> None:
    app = celery.Celery("eager", broker="redis://127.0.0.1:1/0", set_as_current=False)
    app.conf.task_always_eager = True
    handler = CeleryHandler(app)

    [found] = handler.engine.depths(["events"], timeout=1.0)

    assert (found.ready, found.in_hand, found.delayed) == (0, 0, 0)
