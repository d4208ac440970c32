"""What is done as a worker of Celery's starts and ends: for its own app alone, and once for each engine."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, signals

from fastapi_events.handlers.celery import CeleryHandler


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("shop", broker="memory://", set_as_current=False) as app:
        yield app


def of(app: Celery) -> Any:
    """What a worker of the app sends its signals as."""
    return SimpleNamespace(app=app)


def test_a_worker_consumes_all_queues_of_its_own_app_and_no_others(app: Celery) -> None:
    events = CeleryHandler(app, queue="shop", routes={"card-*": "cards"})
    with Celery("other", broker="memory://", set_as_current=False) as other:
        signals.celeryd_init.send(sender="worker", instance=of(other))
        assert "cards" not in app.amqp.queues

        signals.celeryd_init.send(sender="worker", instance=of(app))

    assert set(events.queues) <= set(app.amqp.queues.consume_from)


def test_functions_that_wait_for_a_broker_stop_with_any_worker_of_the_process(app: Celery) -> None:
    events = CeleryHandler(app)
    assert not events.engine._tasks._stopping.is_set()

    signals.worker_shutting_down.send(sender="worker")

    assert events.engine._tasks._stopping.is_set()


def test_they_are_forgotten_with_their_engine() -> None:
    app = Celery("shop", broker="memory://", set_as_current=False)
    heard = weakref.ref(CeleryHandler(app).engine._signals)
    app.close()
    del app
    gc.collect()

    assert heard() is None
