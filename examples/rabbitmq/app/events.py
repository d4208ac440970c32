"""The broker and the handler, shared by the web process and the workers."""

import os

import dramatiq

from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.rabbitmq_quorum import QuorumBroker
from fastapi_events.storage.sqlalchemy import SqlStore

broker = QuorumBroker(url=os.environ.get("BROKER_URL", "amqp://localhost:5672"), confirm_delivery=True)
dramatiq.set_broker(broker)
# RabbitMQ cannot keep what workers tell each other, nor what happened to events: the store does.
store = SqlStore(os.environ.get("DATABASE_URL", "sqlite:///events.db"))  # postgresql://… in production
events = DramatiqHandler(broker, queue="shop", queue_type="quorum", store=store)
