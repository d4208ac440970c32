"""Dramatiq, with the settings that we would ship."""

from __future__ import annotations

import logging

from fastapi_events.errors import MissingDependencyError
from fastapi_events.handlers.dramatiq import DramatiqHandler  # says what to install where it is not
from fastapi_events.settings import Settings
from workers.store import store_of

import dramatiq  # isort: skip

# For each failure these two repeat, with the whole message, what our own log says without payload.
for _name in ("dramatiq.worker.WorkerThread", "dramatiq.middleware.retries.Retries"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


def broker_from(url: str) -> dramatiq.Broker:
    """A broker of which nothing is lost when a server or a worker is.

    Every step towards Redis is bounded, and a worker that was killed is missed after 15 s instead of 60:
    another takes over its messages a few seconds later. RabbitMQ confirms what it was given.
    """
    if url.startswith("amqp"):
        try:
            from dramatiq.brokers.rabbitmq import RabbitmqBroker
        except ImportError as missing:
            raise MissingDependencyError("pika, which amqp:// needs,", "rabbitmq") from missing
        return RabbitmqBroker(url=url, confirm_delivery=True)

    from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker

    import redis  # isort: skip
    from redis.backoff import NoBackoff  # isort: skip
    from redis.retry import Retry  # isort: skip

    client = redis.Redis.from_url(
        url,
        socket_timeout=5,
        socket_connect_timeout=2,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 0),
    )
    return SafeRedisBroker(client=client)


_settings = Settings()
broker = broker_from(_settings.broker_url)
dramatiq.set_broker(broker)
events = DramatiqHandler(broker, queue=_settings.queue, source=_settings.source, **store_of(_settings))
