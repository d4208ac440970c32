"""The handler, shared by the web process and the workers: its stores are in the database of the cats."""

import os

import dramatiq

from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
from fastapi_events.storage.sqlalchemy import SqlStore

from .database import engine

broker = SafeRedisBroker(url=os.environ.get("BROKER_URL", "redis://localhost:6379/0"))
dramatiq.set_broker(broker)
store = SqlStore(engine)
store.setup()
events = DramatiqHandler(broker, queue="adoptions", store=store)
