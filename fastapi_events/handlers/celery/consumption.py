"""How Celery's consumer is, for whoever probes the worker."""

from __future__ import annotations

import time
from typing import Any

from celery import Celery, bootsteps, signals
from celery.worker import state

from fastapi_events.handlers.celery.publisher import queue_of
from fastapi_events.handlers.task_queue.worker.reporter import EVERY_SECONDS, Consumption, reporter


class ReportingStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery comes without types
    """Reports on a worker's consumer from when it has a connection; its event loop says that it turns."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._looped_at: float | None = None
        self._turns: Any = None

    def start(self, parent: Any) -> None:
        """The consumer begins, for the first time or after it has lost its connection."""
        if parent.hub is not None:  # the event loop, where pool and transport have one
            self._looped_at = time.monotonic()
            self._turns = parent.hub.call_repeatedly(EVERY_SECONDS, self._turn)
        reporter.consume(lambda: self._look(parent))

    def stop(self, parent: Any) -> None:
        """The consumer ends, or has lost its connection."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.cancel()

    def _turn(self) -> None:
        self._looped_at = time.monotonic()

    def _look(self, consumer: Any) -> Consumption:
        active, reserved = len(state.active_requests), len(state.reserved_requests)
        limit = consumer.qos.value if consumer.qos is not None else 0
        at_once = getattr(consumer.pool, "num_processes", None) or 1
        return Consumption(
            queues=[each.name for each in consumer.task_consumer.queues],
            in_hand=reserved,
            has_room=active < at_once and (not limit or reserved < limit),
            looped_at=self._looped_at,
        )


def report_from(app: Celery) -> None:
    """Let an app's workers report, once for however many handlers."""
    if ReportingStep not in app.steps["consumer"]:
        app.steps["consumer"].add(ReportingStep)
        signals.task_received.connect(_on_task_received)


def _on_task_received(request: Any = None, **_: Any) -> None:
    queue = queue_of(getattr(request, "delivery_info", None))
    if queue is not None:
        reporter.took(queue)
