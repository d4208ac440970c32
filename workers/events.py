"""The handlers of this deployment, shared by its web process and its workers.

The web process chooses the engine: it hands `workers.dramatiq.events` or `workers.celery.events` to its
middleware. Functions are registered for both, so that either worker can run them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from fastapi_events.settings import Settings
from workers.celery import events as celery_events
from workers.celery import own_queue
from workers.dramatiq import events as dramatiq_events

F = TypeVar("F", bound=Callable[..., Any])


class BothEngines:
    """Registers a function with the handler of each engine."""

    @overload
    def register(self, target: type, **options: Any) -> Callable[[F], F]: ...
    @overload
    def register(self, target: F, **options: Any) -> F: ...
    @overload
    def register(self, target: None = None, **options: Any) -> Callable[[F], F]: ...
    def register(self, target: Any = None, **options: Any) -> Any:
        """As `DramatiqHandler.register` and `CeleryHandler.register`, with the options that both know."""

        def subscribe(function: F) -> F:
            model = target if isinstance(target, type) else None
            for handler, own in ((dramatiq_events, options), (celery_events, _for_celery(options))):
                if model is None:
                    handler.register(function, **own)
                else:
                    handler.register(model, **own)(function)
            return function

        return subscribe if target is None or isinstance(target, type) else subscribe(target)


def _for_celery(options: dict[str, Any]) -> dict[str, Any]:
    queue = options.get("queue")
    return {**options, "queue": own_queue(settings.broker_url, queue)} if queue else options


settings = Settings()
events = BothEngines()
