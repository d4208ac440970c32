"""The handler, shared by the web process and the workers: its stores are in the database of the cats."""

from __future__ import annotations

import os

import dramatiq

from examples.transactions.database import engine
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
from fastapi_events.storage.sqlalchemy import SqlStore

broker = SafeRedisBroker(url=os.environ.get("FASTAPI_EVENTS_BROKER_URL", "redis://localhost:6379/0"))
dramatiq.set_broker(broker)

store = SqlStore(engine)
store.setup()
events = DramatiqHandler(broker, queue="adoptions", outbox=store.outbox, inbox=store.inbox)
