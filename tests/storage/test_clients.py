"""Clients that are like another one share its settings and none of its connections."""

from __future__ import annotations

import pytest
import redis
from redis.sentinel import Sentinel, SentinelConnectionPool

from fastapi_events.storage.redis.clients import client_like


def test_it_has_the_settings_of_the_other_and_connections_of_its_own(valkey_url: str) -> None:
    with (
        redis.Redis.from_url(valkey_url, decode_responses=True, socket_timeout=7) as client,
        client_like(client, socket_timeout=3) as like,
    ):
        client.set("a", "b")
        assert like.get("a") == "b"
        assert like.connection_pool is not client.connection_pool
        assert client.connection_pool.connection_kwargs["socket_timeout"] == 7
        assert like.connection_pool.connection_kwargs["socket_timeout"] == 3


def test_sentinels_are_asked_by_clients_of_its_own_that_share_the_time() -> None:
    sentinels = Sentinel([("127.0.0.1", 1), ("127.0.0.1", 2)], socket_timeout=7)
    client = sentinels.master_for("shop", db=3)

    like = client_like(client, socket_timeout=3)

    pool = like.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert (pool.service_name, pool.is_master, pool.connection_kwargs["db"]) == ("shop", True, 3)
    [theirs, _], [ours, _] = sentinels.sentinels, pool.sentinel_manager.sentinels
    assert ours is not theirs
    assert ours.connection_pool.connection_kwargs["socket_timeout"] == 1  # a third is the server's
    assert pool.connection_kwargs["socket_timeout"] == 3
    assert theirs.connection_pool.connection_kwargs["socket_timeout"] == 7


def test_a_pool_that_cannot_be_made_once_more_says_so() -> None:
    class Peculiar(redis.ConnectionPool):
        def __init__(self, region: str, **settings: object) -> None:
            super().__init__(**settings)

    with pytest.raises(TypeError, match="region"):
        client_like(redis.Redis(connection_pool=Peculiar("here")))


@pytest.mark.valkey
def test_a_client_like_another_closes_its_connections(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        like = client_like(client)
        like.ping()
        [connection] = like.connection_pool._available_connections
        assert connection._sock is not None

        like.close()

        assert connection._sock is None
