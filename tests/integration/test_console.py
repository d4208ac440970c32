"""The console before workers of both engines over RabbitMQ, which tells less of its queues than Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from fastapi_events.console import Visitor, console
from fastapi_events.dispatcher import dispatch
from fastapi_events.event import Event
from fastapi_events.recorder import recorder_of
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryStore
from tests.console.conftest import Page
from tests.places import QueuePlace, celery_on_rabbitmq, dramatiq_on_rabbitmq
from tests.processes import until

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(params=["dramatiq", "celery"])
def place(request: pytest.FixtureRequest, amqp_url: str, store: MemoryStore) -> Iterator[QueuePlace]:
    opened = {"dramatiq": dramatiq_on_rabbitmq, "celery": celery_on_rabbitmq}[request.param]
    with opened(amqp_url, store=store, catalogue=store.catalogue, relay=False) as place:
        yield place


def hopeless(event: Event) -> None:
    raise ValueError("no fish")


def test_each_page_shows_what_rabbitmq_tells(place: QueuePlace, store: MemoryStore) -> None:
    handler = place.handler
    handler.register(lambda event: None, event_name="order-*", name="cook")
    handler.register(hopeless, event_name="order-placed", name="hopeless", retry=RetryPolicy(max_retries=0))
    with TestClient(console([handler], auth=lambda request: Visitor("alice"))) as client:

        def look(path: str) -> Page:
            client.app.state.console.reads.forget()  # type: ignore[attr-defined]
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert "cannot be asked" not in answer.text, path
            return Page(200, answer.text)

        with collect_events([handler], raise_errors=True):
            dispatch("order-placed", {"fish": 2})
        # What waits is counted; what workers hold, and how old it is, RabbitMQ does not tell
        until(lambda: any(row.startswith("events 1 \u2013") for row in look("/queues").rows()), "it waits")
        assert "RabbitMQ does not say how many messages workers hold" in look("/queues").text
        place.work()
        until(lambda: store.dead_letters.count() == 1, "its letter is kept")
        place.settle()
        recorder_of(store.journal).flush(10.0)

        [event] = store.journal.events()
        page = look(f"/event/{event.id}")
        assert "cook succeeded queue events" in page.text
        assert "hopeless dead queue events" in page.text
        assert "ValueError: no fish" in look("/dead").text
        for path in ("/", "/events", "/subscriptions", "/outbox", "/lanes", "/doctor"):
            look(path)
        until(lambda: "dead 1" in look("/").head, "the header counts its letter")
