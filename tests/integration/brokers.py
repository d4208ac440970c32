"""The lines of an application that make its broker and its handler."""

from __future__ import annotations

BROKERS = {
    "dramatiq": """
    import dramatiq
    from fastapi_events.handlers.dramatiq import DramatiqHandler
    from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
    broker = SafeRedisBroker(url="redis://localhost:6379/0")
    dramatiq.set_broker(broker)
    events = DramatiqHandler(broker, flush_deadline=20.0)
""",
    "celery": """
    from celery import Celery
    from fastapi_events.handlers.celery import CeleryHandler
    broker = Celery("app", broker="redis://localhost:6379/0")
    broker.conf.broker_connection_retry_on_startup = True
    broker.conf.worker_prefetch_multiplier = 1
    events = CeleryHandler(broker, flush_deadline=20.0)
""",
}
