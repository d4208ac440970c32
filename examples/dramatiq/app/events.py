"""The broker and the handler, shared by the web process and the workers."""

import os

import dramatiq

from fastapi_events.handlers.dramatiq import DramatiqHandler, ScopeMiddleware
from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
from fastapi_events.storage.sqlalchemy import SqlStore

broker = SafeRedisBroker(url=os.environ.get("BROKER_URL", "redis://localhost:6379/0"))
dramatiq.set_broker(broker)
store = SqlStore(os.environ.get("DATABASE_URL", "sqlite:///events.db"))  # postgresql://… in production
events = DramatiqHandler(broker, store=store)
broker.add_middleware(ScopeMiddleware([events]))  # lets actors of your own dispatch
