"""Which of Dramatiq's brokers a broker is, whether or not the clients of both are installed."""

from __future__ import annotations

from types import ModuleType
from typing import Any, TypeGuard

redis: ModuleType | None
"""`dramatiq.brokers.redis`, or None where only RabbitMQ's client is installed."""
try:
    from dramatiq.brokers import redis
except ImportError:
    redis = None

rabbitmq: ModuleType | None
"""`dramatiq.brokers.rabbitmq`, or None where only the client of Redis is installed."""
try:
    from dramatiq.brokers import rabbitmq
except ImportError:
    rabbitmq = None


def is_redis(broker: Any) -> TypeGuard[Any]:
    """Whether a broker is Dramatiq's for Redis."""
    return redis is not None and isinstance(broker, redis.RedisBroker)


def is_rabbitmq(broker: Any) -> TypeGuard[Any]:
    """Whether a broker is Dramatiq's for RabbitMQ."""
    return rabbitmq is not None and isinstance(broker, rabbitmq.RabbitmqBroker)
