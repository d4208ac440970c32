"""Finds the handler responsible for a message that names no known task, by the queue that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery import Celery, Task

from fastapi_events.handlers.celery.passed_on import UNKNOWN
from fastapi_events.handlers.celery.publisher import queue_of
from fastapi_events.handlers.celery.tasks import Tasks
from fastapi_events.handlers.task_queue.worker.worker import Worker

_RESPONSIBLE = "fastapi_events_responsible"


@dataclass(frozen=True, slots=True)
class Responsible:
    """A handler's worker half, and what keeps messages for it."""

    worker: Worker
    tasks: Tasks


class Unclaimed:
    """The handlers of one app, which share its task `UNKNOWN`."""

    def __init__(self) -> None:
        self._all: list[Responsible] = []

    def add(self, responsible: Responsible) -> None:
        """Take in one more handler of the app."""
        self._all.append(responsible)

    def find(self, delivery_info: Mapping[str, Any] | None) -> tuple[Responsible, str] | None:
        """Find the handler responsible for a message, and the message's queue; None if there is none."""
        queue = queue_of(delivery_info)
        for each in self._all:
            if queue is not None and queue in each.worker.queues:
                return each, queue
        return None

    def take_unknown(self, task: Task, *args: Any, **kwargs: Any) -> None:
        """The task `UNKNOWN`: its message's handler decides, one of another queue goes to the first."""
        first = self._all[0]
        found, queue = self.find(task.request.delivery_info) or (first, first.worker.queues[0])
        found.tasks.take_unknown(task, found.worker, queue, args, kwargs)


def unclaimed_of(app: Celery) -> Unclaimed | None:
    """The handlers of an app; None if it has none."""
    return getattr(app.tasks.get(UNKNOWN), _RESPONSIBLE, None)


def answer_for(app: Celery, responsible: Responsible, **options: Any) -> None:
    """Add a handler to those of an app, which has the task `UNKNOWN` from then on.

    Parameters:
        options: Of that task, should it be made now.
    """
    unclaimed = unclaimed_of(app)
    if unclaimed is None:
        unclaimed = Unclaimed()
        options[_RESPONSIBLE] = unclaimed
        app.task(_taking(unclaimed), name=UNKNOWN, bind=True, lazy=False, shared=False, **options)
    unclaimed.add(responsible)


def _taking(unclaimed: Unclaimed) -> Any:
    # A bound method would swallow the `self` that bind=True passes; hence a function.
    def run(task: Task, *args: Any, **kwargs: Any) -> None:
        unclaimed.take_unknown(task, *args, **kwargs)

    return run
