"""The Celery app and the handler, shared by the web process and the workers."""

import os

from celery import Celery

from fastapi_events.handlers.celery import CeleryHandler, open_scopes
from fastapi_events.storage.sqlalchemy import SqlStore

celery_app = Celery("shop", broker=os.environ.get("BROKER_URL", "redis://localhost:6379/0"))
celery_app.conf.update(
    accept_content=["json"],
    broker_connection_max_retries=None,
    broker_connection_retry_on_startup=True,
    # Kombu's own, whose workers die with a Redis that goes away, but for that:
    broker_transport="fastapi_events.handlers.celery.redis_transport:Transport",
    broker_transport_options={
        "visibility_timeout": 3_600,  # longer than the longest function and the longest wait for a retry
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
    },
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
)
store = SqlStore(os.environ.get("DATABASE_URL", "sqlite:///events.db"))  # postgresql://… in production
events = CeleryHandler(celery_app, store=store)
open_scopes(celery_app, [events])  # lets tasks of your own dispatch
