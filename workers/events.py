"""The handlers of this deployment, shared by its web process and its workers.

The web process chooses the engine: it hands `workers.dramatiq.events` or `workers.celery.events` to its
middleware. Functions are registered for both, so that either worker can run them. An engine that is not
installed is left out, and the log says which.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar, overload

from fastapi_events.errors import ConfigurationError, MissingDependencyError
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.settings import Settings
from workers.queues import own_queue

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])


class Engines:
    """Registers a function with the handler of each engine that is installed.

    Parameters:
        handlers: The handler of each, by the engine's name.
    """

    def __init__(self, handlers: Mapping[str, TaskQueueHandler]) -> None:
        self.handlers = dict(handlers)

    @overload
    def register(self, target: type, **options: Any) -> Callable[[F], F]: ...
    @overload
    def register(self, target: F, **options: Any) -> F: ...
    @overload
    def register(self, target: None = None, **options: Any) -> Callable[[F], F]: ...
    def register(self, target: Any = None, **options: Any) -> Any:
        """As `DramatiqHandler.register` and `CeleryHandler.register`, with the options that both know."""

        def subscribe(function: F) -> F:
            for engine, handler in self.handlers.items():
                own = _for_celery(options) if engine == "celery" else options
                if isinstance(target, type):
                    handler.register(target, **own)(function)
                else:
                    handler.register(function, **own)
            return function

        return subscribe if target is None or isinstance(target, type) else subscribe(target)


def _for_celery(options: dict[str, Any]) -> dict[str, Any]:
    queue = options.get("queue")
    return {**options, "queue": own_queue(settings.broker_url, queue)} if queue else options


def _installed() -> dict[str, TaskQueueHandler]:
    """The handlers of the engines that are installed.

    Raises:
        ConfigurationError: When none is.
    """
    found: dict[str, TaskQueueHandler] = {}
    missing: list[str] = []
    for engine in ("dramatiq", "celery"):
        try:
            found[engine] = import_module(f"workers.{engine}").events
        except MissingDependencyError as error:
            missing.append(str(error))
    if not found:
        raise ConfigurationError(f"There is no engine to run functions with. {' '.join(missing)}")
    for each in missing:
        logger.warning("Functions are registered for %s only. %s", " and ".join(found), each)
    return found


settings = Settings()
events = Engines(_installed())
