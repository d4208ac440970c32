"""A broker that is away for some seconds under ordered traffic, by a real server behind a proxy."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from urllib.parse import urlsplit

import dramatiq
import pytest

from fastapi_events.event import Event
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
from fastapi_events.storage.redis import RedisStore
from tests.proxy import Proxy

AWAY_SECONDS = 3.0
LATE_SECONDS = 5.0
KEYS = ("a", "b", "c", "d")

pytestmark = pytest.mark.valkey


class Shop:
    """A web process and a worker, whose broker is behind a proxy and whose lanes are not.

    Parameters:
        url: The server's.
        proxy: In front of it.
    """

    def __init__(self, url: str, proxy: Proxy, namespace: str) -> None:
        self.proxy = proxy
        self.broker = SafeRedisBroker(
            url=f"redis://127.0.0.1:{proxy.port}{urlsplit(url).path}", namespace=namespace
        )
        self.store = RedisStore(url, prefix=namespace)
        self.handler = DramatiqHandler(self.broker, lanes=self.store.lanes)
        self.got: dict[str, list[int]] = defaultdict(list)
        self.at: dict[str, float] = {}
        self._changed = threading.Condition()
        self._next = dict.fromkeys(KEYS, 0)
        self.handler.register(self._run, name="feed")
        self.worker = dramatiq.Worker(self.broker, worker_threads=4, worker_timeout=50)

    def _run(self, event: Event) -> None:
        with self._changed:
            self.got[str(event.ordering_key)].append(event.payload)
            self.at[str(event.ordering_key)] = time.monotonic()
            self._changed.notify_all()

    def dispatch(self) -> None:
        """One event of each key, in one flush."""
        events = []
        for key in KEYS:
            event = Event("fed", self._next[key])
            event.ordering_key = key
            self._next[key] += 1
            events.append(event)
        asyncio.run(self.handler.handle_many(events))

    def settle(self) -> None:
        with self._changed:
            assert self._changed.wait_for(
                lambda: all(len(set(self.got[key])) == self._next[key] for key in KEYS), 60
            ), dict(self.got)

    def close(self) -> None:
        self.proxy.heal()
        self.worker.stop()
        asyncio.run(self.handler.on_shutdown())
        self.broker.close()
        self.store.close()


@pytest.fixture
def shop(valkey_url: str, request: pytest.FixtureRequest) -> Iterator[Shop]:
    with Proxy(urlsplit(valkey_url).port or 6379) as proxy:
        shop = Shop(valkey_url, proxy, f"lanes-{request.node.name[-5:-1]}")
        yield shop
        shop.close()


@pytest.mark.parametrize("fault", ["hangs", "ends"])
def test_no_lane_is_late_by_more_than_the_outage_and_a_few_seconds(shop: Shop, fault: str) -> None:
    shop.worker.start()
    shop.dispatch()
    shop.settle()

    # Given a broker that is away for a while, as seen by web process and worker, under traffic
    port = shop.proxy._server[1]
    ends = time.monotonic() + AWAY_SECONDS
    if fault == "hangs":
        shop.proxy.hang()
    else:
        shop.proxy.lead_to(1)
        shop.proxy.cut()
    while time.monotonic() < ends:
        shop.dispatch()
        time.sleep(0.1)

    # When it is back
    shop.proxy.lead_to(port)
    shop.proxy.heal()
    back = time.monotonic()
    shop.settle()

    # Then every lane has gone on, in its order and soon
    for key in KEYS:
        assert list(dict.fromkeys(shop.got[key])) == list(range(shop._next[key]))
        assert shop.at[key] - back < LATE_SECONDS
