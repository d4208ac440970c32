"""Registration: functions become subscriptions, with their options checked on the line that names them."""

from __future__ import annotations

import inspect
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar, overload

from fastapi_events import checks
from fastapi_events.errors import ConfigurationError, InvalidSetting
from fastapi_events.event import EventName
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.task_queue.engine import Engine
from fastapi_events.handlers.task_queue.once import check_once
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.inbox import Inbox
from fastapi_events.subscriptions.batch import batch as batch_of
from fastapi_events.subscriptions.plan import Plan, plan
from fastapi_events.subscriptions.subscription import Subscription, Subscriptions, name_of, registration

F = TypeVar("F", bound=Callable[..., Any])

Errors: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]
"""A class of errors, or several."""

BATCH_WINDOW_SECONDS = 0.2
"""How long a batch waits for more events, unless `batch_window` says so."""

PAUSE_SECONDS = 60.0
"""How long a function with `pause_on` pauses itself, unless `pause_for` says so."""


class Registering(BaseEventHandler):
    """The part of a queue handler that functions are registered with.

    Parameters:
        engine: Runs what is registered.
        routes: Its queues.
        retry: The policy of subscriptions that have none of their own.
    """

    def __init__(self, engine: Engine, routes: Routes, retry: RetryPolicy) -> None:
        self.engine = engine
        self.routes = routes
        self.queue: str = routes.default
        self.subscriptions: Subscriptions = Subscriptions()
        self._retry = retry

    @abstractmethod
    def _declare(self, subscription: Subscription) -> None:
        """Let the engine run a subscription."""

    inbox: Inbox | None
    """Remembers what subscriptions with `once=True` have completed."""

    # Registration

    @overload
    def register(
        self, _func_or_model: type, *, event_name: EventName = ..., name: str | None = ...,
        queue: str | None = ..., retry: RetryPolicy | None = ..., once: bool = ...,
        batch: int | None = ..., batch_window: float | timedelta = ...,
        pause_on: Errors = ..., pause_for: float | timedelta = ...,
        priority: int = ..., time_limit: float | timedelta = ..., **options: Any,
    ) -> Callable[[F], F]: ...  # fmt: skip
    @overload
    def register(
        self, _func_or_model: F, *, event_name: EventName = ..., name: str | None = ...,
        queue: str | None = ..., retry: RetryPolicy | None = ..., once: bool = ...,
        batch: int | None = ..., batch_window: float | timedelta = ...,
        pause_on: Errors = ..., pause_for: float | timedelta = ...,
        priority: int = ..., time_limit: float | timedelta = ..., **options: Any,
    ) -> F: ...  # fmt: skip
    @overload
    def register(
        self, _func_or_model: None = None, *, event_name: EventName = ..., name: str | None = ...,
        queue: str | None = ..., retry: RetryPolicy | None = ..., once: bool = ...,
        batch: int | None = ..., batch_window: float | timedelta = ...,
        pause_on: Errors = ..., pause_for: float | timedelta = ...,
        priority: int = ..., time_limit: float | timedelta = ..., **options: Any,
    ) -> Callable[[F], F]: ...  # fmt: skip
    def register(
        self,
        _func_or_model: Any = None,
        *,
        event_name: EventName = "*",
        name: str | None = None,
        queue: str | None = None,
        retry: RetryPolicy | None = None,
        once: bool = False,
        batch: int | None = None,
        batch_window: float | timedelta | None = None,
        pause_on: Errors = (),
        pause_for: float | timedelta | None = None,
        **options: Any,
    ) -> Any:
        """Run a function in a worker for the events that a pattern matches; a decorator in all its forms.

        A function is one subscription. Registered again, it listens to another pattern as well.

            @events.register
            @events.register(event_name="cat*", retry=RetryPolicy(max_retries=5))
            @events.register(CatRequestedAFish, queue="kitchen")     # a model with __event_name__

        Parameters:
            event_name: A shell-style pattern, or an Enum member.
            name: Identifies the subscription in messages; `module.qualname` if not given. Keep it when the
                function moves, as long as messages for it may be waiting.
            queue: Where its messages wait; the handler's queue if not given.
            retry: When it runs again after a failure; the handler's policy if not given.
            once: Skip an event that it has completed before, should it come again; needs the handler's inbox.
            batch: Call the function with a list of up to so many events; what fails is retried one by one.
            batch_window: How long the first event of a batch waits for others, a `timedelta` or seconds; 0.2
                if not given.
            pause_on: A class of errors, or several, at which the function is paused on all workers, such as
                those of a provider that is down. The event that met the error counts no attempt.
            pause_for: How long, a `timedelta` or seconds; a minute if not given. Then one event is tried, and
                all go on unless it meets such an error again.
            options: Passed on to the engine's actor or task. A number has the engine's own unit; a
                `timedelta`, such as `time_limit=timedelta(seconds=30)`, means the same in every engine.

        Returns:
            What it was given, or the decorator that does.

        Raises:
            InvalidSetting: When an option is unknown or refused, or cannot have its value.
            ConfigurationError: When a name is taken, or a parameter of the function cannot be filled.
        """
        asked = registration(_func_or_model, event_name)
        importing = _module_being_imported()
        if name is not None:
            checks.text("name", name, such_as="shop.feed")
        if queue is not None:
            checks.text("queue", queue, such_as="kitchen")
        if retry is not None:
            checks.instance("retry", retry, RetryPolicy, such_as="RetryPolicy(max_retries=3)")
        checks.flag("once", once)
        pausing = _pausing(pause_on, pause_for)
        window = _window(batch, batch_window)

        def subscribe(function: F) -> F:
            asking = name or name_of(function)
            own = self.engine.options.checked(options, asking=asking)
            if retry is not None:
                _check_said_once(own, asking=asking)
            if once:
                check_once(self.inbox, asking=asking)
            many = None
            if batch is not None:
                many = batch_of(function, size=batch, window=window, model=asked.model)
            self._subscribe(
                Subscription(
                    asking,
                    asked.patterns,
                    function,
                    plan(function, model=asked.model) if many is None else Plan(function, many.is_async),
                    queue or self.queue,
                    self.engine.policy(retry or self._retry, own),
                    own,
                    once,
                    many,
                    importing or getattr(function, "__module__", None) or type(function).__module__,
                    *pausing,
                )
            )
            return function

        return subscribe if asked.function is None else subscribe(asked.function)

    def _subscribe(self, new: Subscription) -> None:
        for known in self.subscriptions:
            if known.name != new.name:
                continue
            if known.function is not new.function:
                raise ConfigurationError(
                    f"A subscription named {new.name!r} is registered already, for another function; "
                    "pass name= to give this one its own."
                )
            if _settings(known) != _settings(new):
                raise ConfigurationError(
                    f"{new.name} is registered already, with other options; "
                    "pass name= to make this a subscription of its own."
                )
            if _argument(known) != _argument(new):
                raise ConfigurationError(
                    f"{new.name} is registered already, and would get another argument; "
                    "pass name= to make this a subscription of its own."
                )
            self.subscriptions.add_patterns(known, new.patterns)
            return
        self._declare(new)
        self.subscriptions.add(new)

    @property
    def queues(self) -> tuple[str, ...]:
        """Every queue that a worker has to consume: the handler's, those of its routes and subscriptions."""
        return tuple(
            dict.fromkeys([*self.routes, *(each.queue or self.queue for each in self.subscriptions)])
        )


def _module_being_imported() -> str | None:
    """The module whose import leads here; None where no import does.

    It is not always that of the function: a module may register those of others, and by a helper of another.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    name = None if frame is None else frame.f_globals.get("__name__")
    return None if name == "__main__" or name not in sys.modules else name  # what `exec` runs is no import


def _check_said_once(options: Mapping[str, Any], *, asking: str) -> None:
    """Refuse options of the engine that say what `retry=` says, too."""
    for name in [each.name for each in fields(RetryPolicy) if each.name in options]:
        raise InvalidSetting(
            f"{asking}: {name}={checks.shown(options[name])} and retry= both say when it runs again: "
            f"pass one of them, such as retry=RetryPolicy({name}=…)."
        )


def _window(size: int | None, window: Any) -> float:
    """How long a batch waits for more."""
    if window is None:
        return BATCH_WINDOW_SECONDS
    if size is None:
        raise InvalidSetting(
            f"batch_window={checks.shown(window)} says how long a batch waits for more events: pass its size "
            "as well, such as batch=100."
        )
    return checks.seconds("batch_window", window)


def _pausing(errors: Any, seconds: Any) -> tuple[tuple[type[BaseException], ...], float]:
    """The errors at which a subscription pauses itself, and for how long."""
    classes = checks.error_classes("pause_on", errors)
    if any(not issubclass(each, Exception) for each in classes):
        raise InvalidSetting(f"pause_on={checks.shown(errors)}: expected errors that derive from Exception.")
    if seconds is None:
        return classes, PAUSE_SECONDS if classes else 0.0
    if not classes:
        raise InvalidSetting(
            f"pause_for={checks.shown(seconds)} says how long pause_on= pauses the function: pass the errors "
            "as well, such as pause_on=ProviderDown."
        )
    return classes, checks.seconds("pause_for", seconds, positive=True)


def _settings(subscription: Subscription) -> tuple[Any, ...]:
    many = subscription.batch
    size = None if many is None else (many.size, many.window)
    pausing = (subscription.pause_on, subscription.pause_for)
    return subscription.queue, subscription.retry, subscription.once, size, subscription.options, pausing


def _argument(subscription: Subscription) -> Any:
    """What the function is called with, for comparison."""
    many = subscription.batch
    if many is None:
        return subscription.plan.first
    return None if many.payload_type is None else many.payload_type.annotation
