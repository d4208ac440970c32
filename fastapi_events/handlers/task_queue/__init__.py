"""What all queue handlers share: publish → fan out → perform.

The web process publishes one message per flush, which carries its events. A worker's `fan_out` finds who
listens to each and enqueues one message per subscription, which `perform` runs. An engine (Dramatiq, Celery)
says how messages are sent and received.
"""

from fastapi_events.handlers.task_queue.engine import Actor, Engine
from fastapi_events.handlers.task_queue.handler import TaskQueueHandler
from fastapi_events.handlers.task_queue.messages import Message
from fastapi_events.handlers.task_queue.settings import UNKNOWN_RETRY, TaskQueueOptions, TaskQueueSettings
from fastapi_events.handlers.task_queue.worker.worker import FAN_OUT_RETRY

__all__ = [
    "FAN_OUT_RETRY",
    "UNKNOWN_RETRY",
    "Actor",
    "Engine",
    "Message",
    "TaskQueueHandler",
    "TaskQueueOptions",
    "TaskQueueSettings",
]
