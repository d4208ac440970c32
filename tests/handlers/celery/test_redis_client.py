"""Channels that keep their client, whatever transport for Redis an app has chosen."""

from __future__ import annotations

import threading
from typing import Any

import celery
import pytest
from kombu.transport import memory, pyamqp, redis

from fastapi_events.handlers.celery import redis_transport
from fastapi_events.handlers.celery.redis_client import keeping_client


def connection_to(url: str) -> Any:
    app = celery.Celery("test", broker=url, set_as_current=False)
    return app.connection_for_write(transport=keeping_client(redis.Transport))


@pytest.mark.valkey
def test_a_channel_lends_the_same_client_to_whoever_asks(valkey_url: str) -> None:
    with connection_to(valkey_url) as connection:
        channel = connection.default_channel
        lent = []

        def ask() -> None:
            with channel.conn_or_acquire() as client:
                assert client.ping()
                lent.append(client)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ask()
        ask()

        assert lent[-1] is lent[-2]
        assert len(lent) == 6


@pytest.mark.valkey
def test_a_client_that_the_caller_has_is_used(valkey_url: str) -> None:
    with connection_to(valkey_url) as connection, connection.default_channel.conn_or_acquire() as first:
        other = type(first)(connection_pool=first.connection_pool)
        with connection.default_channel.conn_or_acquire(other) as lent:
            assert lent is other


@pytest.mark.valkey
def test_a_channel_that_has_another_pool_makes_another_client(valkey_url: str) -> None:
    class Forgetful(redis.Channel):
        def forget(self) -> None:  # as kombu does after a fork
            self._disconnect_pools()

    class Transport(redis.Transport):
        Channel = Forgetful

    app = celery.Celery("test", broker=valkey_url, set_as_current=False)
    with app.connection_for_write(transport=keeping_client(Transport)) as connection:
        channel = connection.default_channel
        with channel.conn_or_acquire() as before:
            assert before.ping()
        channel.forget()
        with channel.conn_or_acquire() as after:
            assert after.ping()
        assert after is not before
        assert after.connection_pool is channel.pool


def test_every_transport_for_redis_is_made_to_keep_it_once() -> None:
    for transport in (redis.Transport, redis.SentinelTransport):
        keeping = keeping_client(transport)
        assert keeping is not None
        assert issubclass(keeping, transport)
        assert keeping_client(transport) is keeping
        assert keeping_client(keeping) is None
    assert keeping_client(redis_transport.Transport) is None  # its channels do
    for other in (memory.Transport, pyamqp.Transport):
        assert keeping_client(other) is None


def test_a_connection_by_it_goes_where_the_app_goes() -> None:
    for url in (
        "redis://h:1/3",
        "rediss://u:p@h:1/3?ssl_cert_reqs=CERT_REQUIRED",
        "sentinel://a:1;sentinel://b:2",
    ):
        app = celery.Celery("test", broker=url, set_as_current=False)
        plain = app.connection_for_write()
        ours = app.connection_for_write(transport=keeping_client(plain.get_transport_cls()))
        assert {**ours.info(), "transport": None} == {**plain.info(), "transport": None}
        assert (ours.ssl, ours.alt) == (plain.ssl, plain.alt)
