"""The first of an app's brokers that can be reached, by connections whose every step is bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import celery
import pytest

from fastapi_events.event import Event
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.celery.alternatives import alternatives, connect, sentinel_options
from tests.ports import free_port
from tests.sentinel import MASTER, Servers

PASSWORD = "secret"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path_factory.mktemp("sentinel"), stack, password=PASSWORD)


@pytest.fixture(params=["away", "silent"])
def first(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a Sentinel that has gone, or does not answer."""
    if request.param == "away":
        yield free_port()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield server.getsockname()[1]


def app(broker: Any, **options: Any) -> celery.Celery:
    app = celery.Celery("test", broker=broker, set_as_current=False)
    app.conf.broker_transport_options = options
    return app


@pytest.mark.valkey
def test_the_next_sentinel_leads_to_the_master_within_the_deadline(servers: Servers, first: int) -> None:
    broker = ";".join(f"sentinel://:{PASSWORD}@127.0.0.1:{port}/0" for port in (first, servers.sentinel))
    with_sentinels = app(broker, master_name=MASTER, sentinel_kwargs={"password": PASSWORD})
    queue = f"sentinel-{first}"
    handler = CeleryHandler(with_sentinels, queue=queue, flush_deadline=3.0, catalogue=None)

    asyncio.run(handler.publish([Event("a")]))

    assert servers.client(servers.master).llen(queue) == 1
    assert [each.ready for each in handler.engine.depths([queue], timeout=1.5)] == [1]
    handler.engine.close()


def test_sentinels_and_their_master_share_the_time_and_keep_what_the_app_has_set_for_them() -> None:
    three = app("sentinel://a:1;sentinel://b:2;sentinel://c:3", sentinel_kwargs={"password": PASSWORD})

    kwargs = sentinel_options(three, timeout=4.0)["sentinel_kwargs"]

    assert kwargs["password"] == PASSWORD
    assert kwargs["socket_timeout"] == kwargs["socket_connect_timeout"] == 1.0


@pytest.mark.parametrize(
    "broker", ["redis://a:1/0", "amqp://a:1", "memory://", "redis://a:1/0;redis://b:1/0"]
)
def test_other_brokers_have_no_sentinels(broker: str) -> None:
    assert sentinel_options(app(broker), timeout=1.0) == {}


def test_a_connection_keeps_the_options_of_the_app_and_those_that_it_is_given() -> None:
    on = app("memory://", visibility_timeout=7)
    connection = connect(on, None, timeout=2.0, transport_options={"confirm_publish": False})

    options = connection.transport_options
    assert (options["visibility_timeout"], options["confirm_publish"]) == (7, False)
    assert options["socket_timeout"] == options["read_timeout"] == 2.0


def test_the_order_is_that_of_the_strategy() -> None:
    urls = ["redis://a:1/0", "redis://b:2/0", "redis://c:3/0"]

    def backwards(known: list[str]) -> Iterator[str]:
        yield known[0]
        while True:
            yield from reversed(known)

    in_disorder = app(urls)
    in_disorder.conf.broker_failover_strategy = backwards

    assert alternatives(app(urls)) == urls
    assert alternatives(in_disorder) == [urls[0], urls[2], urls[1]]


def test_a_single_broker_and_sentinels_are_left_to_the_app() -> None:
    assert alternatives(app("rediss://a:1/0?ssl_cert_reqs=none")) == [None]
    assert alternatives(app("sentinel://a:1;sentinel://b:2")) == [None]


@pytest.mark.valkey
def test_what_asks_the_broker_goes_to_the_one_that_publishing_has_reached(valkey_url: str) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    handler = CeleryHandler(app([away, valkey_url]), queue="asked", catalogue=None)

    asyncio.run(handler.publish([Event("a")]))

    assert handler.engine.ping(timeout=5.0) is None
    assert [each.ready for each in handler.engine.depths(["asked"], timeout=5.0)] == [1]
    assert ("ok", "broker") in [(each.severity, each.subject) for each in handler.diagnose()]
    with handler.engine.dead_queues(handler.name, ["asked"], timeout=5.0) as letters:
        assert list(letters) == []
    handler.engine.close()
