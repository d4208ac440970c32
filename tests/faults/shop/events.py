"""The handler that web process and workers share, with the engine, broker and store of the test's choice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from fastapi_events.event import Event
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.lifecycle import Lifecycle, observe
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.redis import RedisStore
from fastapi_events.storage.sqlalchemy import SqlStore
from tests.faults.shop.notes import CONFIG, FOLDER, note

VISIBILITY_SECONDS = 6


def told_time() -> float:
    """What this process takes for the time: the test says by how much it is wrong."""
    return time.time() + float((FOLDER / "clock").read_text())


def make_store() -> SqlStore:
    """The one store of all processes."""
    url = CONFIG.get("store_url")
    clock = told_time if CONFIG.get("clock") else None
    if url is None:
        return SqlStore.open(FOLDER / "events.db", clock=clock, **CONFIG.get("store", {}))
    store = SqlStore(url, clock=clock)
    store.setup()
    return store


def make_handler(**settings: Any) -> TaskQueueHandler:
    """The handler, which misses a killed worker soon, so that the test need not wait."""
    url = CONFIG["broker_url"]
    if CONFIG["engine"] == "celery":
        from celery import Celery

        from fastapi_events.handlers.celery import CeleryHandler

        app = Celery("shop", broker=url)
        app.conf.worker_hijack_root_logger = False
        app.conf.broker_connection_retry_on_startup = True
        app.conf.broker_connection_max_retries = None
        app.conf.worker_prefetch_multiplier = 1
        if "redis" in str(url) or "sentinel" in str(url):
            app.conf.broker_transport_options = {
                "visibility_timeout": VISIBILITY_SECONDS,
                "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
                "socket_timeout": 5, "socket_connect_timeout": 2,
                **CONFIG.get("transport_options", {}),
            }  # fmt: skip
        else:
            app.conf.broker_transport_options = CONFIG.get("transport_options", {})
        return CeleryHandler(app, **settings)

    import dramatiq

    from fastapi_events.handlers.dramatiq import DramatiqHandler

    broker: dramatiq.Broker
    if "amqp" not in str(url):
        from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker

        bounds: dict[str, Any] = {"socket_timeout": 5, "socket_connect_timeout": 2}
        if "sentinel" in url:
            from redis.sentinel import Sentinel

            address = urlsplit(url)
            sentinel = Sentinel([(address.hostname, address.port)], **bounds)
            bounds = {"client": sentinel.master_for(CONFIG["transport_options"]["master_name"], **bounds)}
        else:
            bounds["url"] = url
        broker = SafeRedisBroker(heartbeat_timeout=2_000, maintenance_chance=1_000_000, **bounds)
    else:
        from dramatiq.brokers.rabbitmq import RabbitmqBroker

        broker = RabbitmqBroker(url=url, confirm_delivery=True)
    dramatiq.set_broker(broker)
    return DramatiqHandler(broker, **settings)


class Ledger(Lifecycle):
    """Writes down what was reported lost, and what was given up."""

    def stored(self, events: Sequence[Event], *, handler: str, reason: str) -> None:
        note("stored", count=len(events), reason=reason)

    def lost(self, event: Event, *, handler: str, reason: str) -> None:
        note("lost", number=event.payload["number"], id=event.id, reason=reason)

    def dead(self, event: Event | None, *, subscription: str, reason: str, attempts: int) -> None:
        number = None if event is None else event.payload["number"]
        note("dead", number=number, subscription=subscription, reason=reason, attempts=attempts)

    def unmatched(self, event: Event, *, handler: str) -> None:
        note("unmatched", number=event.payload["number"])


observe(Ledger())
store = make_store() if CONFIG.get("stored", True) else None
settings: dict[str, Any] = {
    "retry": RetryPolicy(max_retries=2, min_backoff=0.1, max_backoff=1.0),
    "unknown_retry": RetryPolicy(max_retries=4, min_backoff=0.5, max_backoff=1.0),
    **CONFIG.get("handler", {}),
}
if store is not None:
    settings = {"inbox": store.inbox, "dead_letters": store.dead_letters, **settings}
    if CONFIG.get("outbox", True):
        settings["outbox"] = store.outbox
    if CONFIG.get("lanes"):
        settings["lanes"] = store.lanes
    if CONFIG.get("catalogued"):  # which on Valkey is in the broker
        settings["catalogue"] = store.catalogue
if "side_url" in CONFIG:
    side = RedisStore(CONFIG["side_url"])
    settings |= {"catalogue": side.catalogue, "journal": side.journal}
events = make_handler(**settings)
