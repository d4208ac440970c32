"""Celery, with the settings that we would ship; `celery -A workers` finds `app` here."""

from __future__ import annotations

from typing import Any

from fastapi_events.handlers.celery import CeleryHandler  # says what to install where it is not
from fastapi_events.settings import Settings
from workers.queues import own_queue
from workers.store import store_of

from celery import Celery  # isort: skip


def app_from(url: str) -> Celery:
    """An app whose workers hold no more than they work on, and come back when their broker does.

    On Redis a message that a killed worker held is delivered again after the visibility timeout. It has to be
    longer than the longest function and the longest wait for a retry.
    """
    app = Celery("workers", broker=url)
    transport: dict[str, Any] = {"confirm_publish": True}
    if url.startswith("redis:"):  # else the worker dies with a server that goes away
        app.conf.broker_transport = "fastapi_events.handlers.celery.redis_transport:Transport"
    if not url.startswith("amqp"):
        transport = {
            "visibility_timeout": 3_600,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
        }
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options=transport,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
    )
    return app


_settings = Settings()
app = app_from(_settings.broker_url)
events = CeleryHandler(
    app,
    queue=own_queue(_settings.broker_url, _settings.queue),
    source=_settings.source,
    silent_after=60.0,
    **store_of(_settings),
)
