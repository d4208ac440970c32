"""Which of an app's handlers a message is for that no task takes: the one of the queue that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery import Celery, Task

from fastapi_events.handlers.celery.publishing import queue_of
from fastapi_events.handlers.celery.tasks import UNKNOWN, Redelivery
from fastapi_events.handlers.task_queue import TaskQueueHandler

_OWNERS = "fastapi_events_owners"


@dataclass(frozen=True, slots=True)
class Owner:
    """A handler, and what it does with a message for whom there is no task."""

    handler: TaskQueueHandler
    redelivery: Redelivery


class Owners:
    """The handlers of one app, which share its task `UNKNOWN`."""

    def __init__(self) -> None:
        self._all: list[Owner] = []

    def add(self, owner: Owner) -> None:
        """One more handler is on the app."""
        self._all.append(owner)

    def of(self, delivery_info: Mapping[str, Any] | None) -> tuple[Owner, str] | None:
        """Whose queue a message came from, and which; None if it is nobody's."""
        queue = queue_of(delivery_info)
        for each in self._all:
            if queue is not None and queue in each.handler.queues:
                return each, queue
        return None

    def take_unknown(self, task: Task, *args: Any, **kwargs: Any) -> None:
        """The task `UNKNOWN`: its message's handler decides, one of another queue goes to the first."""
        found = self.of(task.request.delivery_info)
        owner = self._all[0] if found is None else found[0]
        owner.redelivery.take_unknown(task, *args, **kwargs)


def owners_on(app: Celery) -> Owners | None:
    """The handlers of an app; None if it has none."""
    return getattr(app.tasks.get(UNKNOWN), _OWNERS, None)


def join_owners(app: Celery, owner: Owner, **options: Any) -> None:
    """Add a handler to those of an app, which has the task `UNKNOWN` from then on.

    Parameters:
        options: Of that task, should it be made now.
    """
    owners = owners_on(app)
    if owners is None:
        owners = Owners()
        options[_OWNERS] = owners
        # Bound, as a method of ours is already, the task would not be told of itself.
        app.task(_taking(owners), name=UNKNOWN, bind=True, lazy=False, shared=False, **options)
    owners.add(owner)


def _taking(owners: Owners) -> Any:
    def run(task: Task, *args: Any, **kwargs: Any) -> None:
        owners.take_unknown(task, *args, **kwargs)

    return run
