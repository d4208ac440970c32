"""How Dramatiq's consumers are, for whoever probes the worker."""

from __future__ import annotations

import time
from typing import Any

import dramatiq
from dramatiq.broker import MessageProxy
from dramatiq.common import q_name
from dramatiq.middleware import Middleware

from fastapi_events.handlers.task_queue.worker.reporter import Consumption, reporter


class ReportingMiddleware(Middleware):
    """Notes what a worker takes, and looks after its consumers' threads."""

    def __init__(self) -> None:
        self._in_hand: set[str] = set()

    def before_worker_boot(self, broker: dramatiq.Broker, worker: Any) -> None:
        reporter.boot("dramatiq")

    def after_worker_boot(self, broker: dramatiq.Broker, worker: Any) -> None:
        reporter.consume(lambda: self._look(broker, worker))

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: Any) -> None:
        reporter.end()

    def before_process_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        self._in_hand.add(message.message_id)
        reporter.took(q_name(message.queue_name))

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        self._in_hand.discard(message.message_id)

    def after_skip_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        self._in_hand.discard(message.message_id)

    def _look(self, broker: dramatiq.Broker, worker: Any) -> Consumption:
        consumers = dict(worker.consumers)
        stopped = {
            q_name(name) for name, each in consumers.items() if not each.is_alive() or each.paused
        }  # fmt: skip
        looked_at = getattr(broker, "looked_at", None)  # a SafeRedisBroker's
        loops = None if looked_at is None else [looked_at.get(each, time.monotonic()) for each in consumers]
        return Consumption(
            queues={q_name(each) for each in consumers},
            stopped=stopped,
            in_hand=len(self._in_hand),
            has_room=len(self._in_hand) < worker.worker_threads,
            looped_at=min(loops) if loops else None,
        )
