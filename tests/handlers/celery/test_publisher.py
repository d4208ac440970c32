"""An app's brokers, one after the other, and what its workers would take."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import celery
import pytest
import redis

from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.celery.publisher import CeleryPublisher
from tests.ports import free_port

QUEUE = "alternatives"


def app(broker: Any, **settings: Any) -> celery.Celery:
    app = celery.Celery("test", broker=broker, set_as_current=False)
    app.conf.update(settings)
    return app


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url, socket_timeout=5) as client:
        client.delete(QUEUE)
        yield client
        client.delete(QUEUE)


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def message(number: int) -> dict[str, Any]:
    return {"name": "work", "args": (number,), "task_id": str(number), "queue": QUEUE}


@pytest.mark.valkey
@pytest.mark.parametrize("join", [list, ";".join], ids=["list", "text"])
def test_the_second_broker_takes_what_the_first_cannot(
    join: Any, client: redis.Redis, valkey_url: str
) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    handler = CeleryHandler(app(join([away, valkey_url])), queue=QUEUE)

    asyncio.run(handler.publish([Event("a")]))
    asyncio.run(handler.publish([Event("b")]))

    assert client.llen(QUEUE) == 2
    handler.engine.close()


@pytest.mark.valkey
def test_a_broker_that_does_not_answer_leaves_time_for_the_next_and_is_not_asked_again(
    client: redis.Redis, valkey_url: str, black_hole: str
) -> None:
    publisher = CeleryPublisher(app([black_hole, valkey_url]))

    publisher.publish([message(1)], timeout=4.0)
    publisher.disconnect()
    publisher.publish([message(2)], timeout=0.5)  # of which the first would have taken half

    assert client.llen(QUEUE) == 2
    publisher.disconnect()


def test_where_no_broker_answers_the_last_says_why() -> None:
    publisher = CeleryPublisher(app([f"redis://127.0.0.1:{free_port()}/0" for _ in range(2)]))

    with pytest.raises(Exception, match="refused"):
        publisher.publish([message(1)], timeout=5.0)


@pytest.mark.parametrize("accepted", [["msgpack"], ["application/x-yaml"], []])
def test_an_app_whose_workers_take_no_json_is_refused(accepted: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="accept_content"):
        CeleryHandler(app("memory://", accept_content=accepted))


@pytest.mark.parametrize("accepted", [["json"], ["application/json", "msgpack"]])
def test_how_an_app_calls_json_does_not_matter(accepted: list[str]) -> None:
    CeleryHandler(app("memory://", accept_content=accepted, task_serializer="msgpack"))
