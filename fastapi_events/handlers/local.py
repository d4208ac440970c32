"""Handle events in this process, by functions registered with shell-style patterns."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, TypeVar, overload

from fastapi_events import checks, lifecycle
from fastapi_events.context import current_event, current_subscription
from fastapi_events.delivery import being_cancelled, cancelled_itself
from fastapi_events.errors import raise_together
from fastapi_events.event import Event, EventName
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.local_registry import Registry
from fastapi_events.lifecycle import Lifecycle, heard, tell
from fastapi_events.otel import tracing
from fastapi_events.subscriptions.plan import plan
from fastapi_events.subscriptions.runner import OnLoop, run
from fastapi_events.subscriptions.subscription import Subscription, Subscriptions, name_of, registration

F = TypeVar("F", bound=Callable[..., Any])

_caller = OnLoop()


class LocalHandler(BaseEventHandler):
    """Runs the functions that listen to an event, here.

    The events of a flush start in order of dispatch and overlap; the functions of one event run one after
    the other. One that raises harms no other: the error is logged and told to the lifecycle hooks.

    Parameters:
        ordered: Handle the events of a flush one after the other.
    """

    def __init__(self, *, ordered: bool = False) -> None:
        self.subscriptions: Subscriptions = Subscriptions()
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        """Dependencies to replace, for tests: `handler.dependency_overrides[get_session] = fake_session`."""
        self._ordered = checks.flag("ordered", ordered)
        self._own_registry = Registry(self.subscriptions)
        self._registry: MutableMapping[str, list[Callable[..., Any]]] = self._own_registry

    def __deepcopy__(self, memo: dict[int, Any]) -> LocalHandler:
        twin = copy.copy(self)
        memo[id(self)] = twin
        twin.subscriptions = Subscriptions()
        registry = Registry(twin.subscriptions)
        for subscription in self.subscriptions:
            registry.remember(subscription)
            registry.setdefault(subscription.pattern).append(subscription.function)
        own = {"subscriptions": twin.subscriptions, "_own_registry": registry, "_registry": registry}
        others = {name: value for name, value in vars(self).items() if name not in own}
        vars(twin).update(copy.deepcopy(others, memo) | own)
        return twin

    @overload
    def register(self, _func: type, event_name: EventName = ...) -> Callable[[F], F]: ...
    @overload
    def register(self, _func: F, event_name: EventName = ...) -> F: ...
    @overload
    def register(self, _func: None = None, event_name: EventName = ...) -> Callable[[F], F]: ...
    def register(self, _func: Any = None, event_name: EventName = "*", **unknown: Any) -> Any:
        """Call a function for the events that a pattern matches; a decorator in all its forms.

            @local_handler.register
            @local_handler.register(event_name="cat*")
            @local_handler.register(CatRequestedAFish)      # a model with __event_name__

        Parameters:
            event_name: A shell-style pattern, or an Enum member.

        Returns:
            What it was given, or the decorator that does.

        Raises:
            ConfigurationError: When a parameter of the function cannot be filled.
            InvalidSetting: When an option is unknown; those of queue handlers have no meaning here.
        """
        checks.known_names(
            unknown, ("event_name",), asking="LocalHandler.register", what="option",
            otherwise="it takes event_name= alone, and runs functions here: others are of queue handlers.",
        )  # fmt: skip
        asked = registration(_func, event_name)

        def subscribe(function: F) -> F:
            how = plan(function, model=asked.model, by_annotation=False)
            self._own_registry.remember(Subscription(name_of(function), asked.patterns, function, how))
            self._register_handler(asked.patterns[0], function)
            return function

        return subscribe if asked.function is None else subscribe(asked.function)

    def _register_handler(self, event_name: str, func: Callable[..., Any]) -> None:
        self._registry.setdefault(event_name, []).append(func)

    def _get_handlers_for_event(self, event_name: EventName) -> list[Callable[..., Any]]:
        return [subscription.function for subscription in self._lookup().match(event_name)]

    async def handle_many(self, events: Iterable[tuple[EventName, Any]]) -> None:
        """Handle the events of a flush, in order of dispatch."""
        given = [Event.of(event) for event in events]
        if self._overridden:
            await super().handle_many(given)
            return
        match, records = self._match(), tracing.records()
        handled = (self._handle(event, match, records) for event in given)
        outcomes: Iterable[list[BaseException] | BaseException]
        if self._ordered or len(given) == 1:
            outcomes = [await each for each in handled]
        else:
            outcomes = await asyncio.gather(*handled, return_exceptions=True)
        errors = self._errors_of(outcomes)
        try:
            raise_together(errors, f"errors in {self.name}")
        finally:
            del errors, outcomes  # an error would hold this frame, and these the error

    def listens(self, name: EventName) -> bool:
        """Whether a function listens to an event of this name."""
        return any(True for _ in self._match()(name))

    def listens_to(self) -> Iterable[str]:
        """What the functions listen to."""
        return [pattern for each in self._lookup() for pattern in each.patterns]

    def _errors_of(self, outcomes: Iterable[list[BaseException] | BaseException]) -> list[BaseException]:
        errors: list[BaseException] = []
        for each in outcomes:
            if isinstance(each, asyncio.CancelledError):
                errors.append(cancelled_itself(self.name, each))
            else:
                errors += each if isinstance(each, list) else [each]
        return errors

    async def handle(self, event: tuple[EventName, Any]) -> None:
        """Run the functions that listen to the event; raises what they raised when all have run."""
        errors = await self._handle(Event.of(event), self._match(), tracing.records())
        try:
            raise_together(errors, f"errors in {self.name}")
        finally:
            del errors

    @property
    def _overridden(self) -> bool:
        return getattr(self.handle, "__func__", None) is not LocalHandler.handle

    def _lookup(self) -> Subscriptions:
        own = self._own_registry
        return self.subscriptions if self._registry is own else own.subscriptions_of(self._registry)

    def _match(self) -> Callable[[EventName], Iterable[Subscription]]:
        """How the subscriptions of an event are found: by our index, or by what a subclass has written."""
        if getattr(self._get_handlers_for_event, "__func__", None) is _get_handlers_for_event:
            return self._lookup().match
        return lambda name: [
            self._own_registry.subscription("*", function) for function in self._get_handlers_for_event(name)
        ]

    async def _handle(
        self, event: Event, match: Callable[[EventName], Iterable[Subscription]], records: bool
    ) -> list[BaseException]:
        token = current_event.set(event)
        try:
            if not records:
                return await self._run_all(event, match(event.name))
            with tracing.handle_span(event, self):
                return await self._run_all(event, match(event.name))
        finally:
            current_event.reset(token)
            current_subscription.set(None)
            del token  # it holds what has been reported around, and an error holds this frame

    async def _run_all(self, event: Event, subscriptions: Iterable[Subscription]) -> list[BaseException]:
        errors = []
        error = None
        try:
            for subscription in subscriptions:
                error = await self._run(subscription, event)
                if error is not None:
                    tracing.record_failure(error, event)
                    errors.append(error)
            return errors
        finally:
            del error, errors  # an error would hold this frame, and these the error

    async def _run(self, subscription: Subscription, event: Event) -> BaseException | None:
        current_subscription.set(subscription.name)
        try:
            if Lifecycle.started in heard:
                tell(Lifecycle.started, event, subscription=subscription.name)
            plan = subscription.plan
            if plan.is_simple and plan.is_async:
                await plan.function(event)  # as `run` does, by a shorter way: most functions are of this kind
            else:
                await run(plan, event, caller=_caller, overrides=self.dependency_overrides)
            if Lifecycle.succeeded in heard:
                tell(Lifecycle.succeeded, event, subscription=subscription.name)
        except GeneratorExit:
            raise
        except asyncio.CancelledError as cancelled:
            if being_cancelled():
                raise
            return self._failed(subscription, event, cancelled_itself(subscription.name, cancelled))
        except BaseException as error:
            return self._failed(subscription, event, error)
        return None

    def _failed(self, subscription: Subscription, event: Event, error: BaseException) -> BaseException:
        lifecycle.report_failure([event], handler=self.name, subscription=subscription.name, error=error)
        return error


_get_handlers_for_event = LocalHandler._get_handlers_for_event  # noqa: SLF001 - to tell whether it is still ours


local_handler: LocalHandler = LocalHandler()
"""The handler that most applications need one of."""
