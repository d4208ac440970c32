"""The proxy that puts a broker some milliseconds away."""

from __future__ import annotations

import pytest
import redis

from benchmarks.servers import delayed


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
