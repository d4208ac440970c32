"""The handler: publishes through a Celery app's broker, and makes each subscription a task."""

from __future__ import annotations

from typing import Unpack

from celery import Celery

from fastapi_events import checks
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.celery.engine import CeleryEngine
from fastapi_events.handlers.task_queue import TaskQueueHandler, TaskQueueOptions
from fastapi_events.handlers.task_queue.settings import Seconds


class CeleryHandler(TaskQueueHandler):
    """Publishes events through a Celery app's broker, and runs subscriptions as tasks of its workers.

    Every task is acknowledged late, goes back to the broker when its process is lost or killed for its time
    limit, and leaves no result.

    Parameters:
        app: The Celery app.
        silent_after: Seconds, or a `timedelta`, after which a worker ends that has nothing to do and does not
            receive what it sends to itself, for its supervisor to start another; None, the default, never.
        settings: See `TaskQueueSettings`.

    Raises:
        InvalidSetting: When there is no setting of a name, or it cannot have its value.
        ConfigurationError: When there is no app, its broker cannot do what is asked, or another handler has
            the queue.
    """

    def __init__(
        self, app: Celery, *, silent_after: Seconds | None = None, **settings: Unpack[TaskQueueOptions]
    ) -> None:
        if not isinstance(app, Celery):
            raise ConfigurationError(f"CeleryHandler({app!r}): expected a celery.Celery app.")
        self.app = app
        seconds = checks.seconds_or_none("silent_after", silent_after, positive=True)
        super().__init__(CeleryEngine(app, silent_after=seconds), **settings)
