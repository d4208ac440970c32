"""The broker and the handler, shared by the web process and the workers."""

import os

import dramatiq

from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
from fastapi_events.storage.sqlalchemy import SqlStore

broker = SafeRedisBroker(url=os.environ.get("BROKER_URL", "redis://localhost:6379/0"))
dramatiq.set_broker(broker)
store = SqlStore(os.environ.get("DATABASE_URL", "sqlite:///events.db"))
events = DramatiqHandler(broker, store=store)
