"""Where the kitchen's events go: to its own workers, and to the shop."""

import os

import dramatiq

from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker

broker = SafeRedisBroker(url=os.environ.get("BROKER_URL", "redis://localhost:6379/0"))
dramatiq.set_broker(broker)
events = DramatiqHandler(broker, queue="kitchen", source="kitchen")
to_shop = DramatiqHandler(broker, queue="shop", source="kitchen")
