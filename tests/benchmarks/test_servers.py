"""The proxy that puts a broker some milliseconds away."""

from __future__ import annotations

import pytest
import redis

from benchmarks import postgres, servers
from benchmarks.servers import delayed, services
from benchmarks.words import POSTGRES, RABBITMQ


@pytest.mark.valkey
def test_the_proxy_passes_everything_on_in_order(valkey_url: str) -> None:
    with delayed(valkey_url, 1.0) as url, redis.Redis.from_url(url) as client:
        assert url != valkey_url
        client.delete("cats")
        pipeline = client.pipeline(transaction=False)
        for number in range(300):
            pipeline.rpush("cats", f"{number}{'m' * 1_000}")
        assert pipeline.execute() == list(range(1, 301))
        assert [int(cat.rstrip(b"m")) for cat in client.lrange("cats", 0, -1)] == list(range(300))
        client.delete("cats")


def test_a_broker_that_is_not_installed_is_missing_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTAPI_EVENTS_TEST_AMQP_URL", raising=False)
    monkeypatch.setattr(servers, "_rabbitmq_path", lambda: "/nowhere")

    with services(valkey=False, rabbitmq=True, postgres=False) as (available, missing):
        assert available.rabbitmq == ""
        assert "not installed" in missing[RABBITMQ]


def test_a_database_that_is_not_installed_is_missing_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTAPI_EVENTS_TEST_POSTGRES_URL", raising=False)
    monkeypatch.setattr(postgres, "_programs", lambda: None)

    with services(valkey=False, rabbitmq=False, postgres=True) as (available, missing):
        assert available.postgres == ""
        assert "not installed" in missing[POSTGRES]


def test_a_database_that_somebody_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_EVENTS_TEST_POSTGRES_URL", "postgresql://cats@fish/tuna")

    with services(valkey=False, rabbitmq=False, postgres=True) as (available, missing):
        assert (available.postgres, missing) == ("postgresql://cats@fish/tuna", {})
