"""Handle events in this process, by functions registered with shell-style patterns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any, TypeVar, overload

from fastapi_events import checks, lifecycle
from fastapi_events.context import current_event
from fastapi_events.errors import raise_together
from fastapi_events.event import Event, EventName
from fastapi_events.handlers.base import BaseEventHandler
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
        self.subscriptions = Subscriptions()
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        """Dependencies to replace, for tests: `handler.dependency_overrides[get_session] = fake_session`."""
        self._ordered = ordered

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
            self.subscriptions.add(
                Subscription(
                    name_of(function),
                    asked.patterns,
                    function,
                    plan(function, model=asked.model, by_annotation=False),
                )
            )
            return function

        return subscribe if asked.function is None else subscribe(asked.function)

    async def handle_many(self, events: Iterable[Event]) -> None:
        """Handle the events of a flush, in order of dispatch."""
        events = list(events)
        if self._overridden:
            await super().handle_many(events)
            return
        records = tracing.records()
        handled = (self._handle(Event.of(event), records) for event in events)
        outcomes: Iterable[list[Exception] | BaseException]
        if self._ordered or len(events) == 1:
            outcomes = [await each for each in handled]
        else:
            outcomes = await asyncio.gather(*handled, return_exceptions=True)
        errors: list[Exception] = []
        for each in outcomes:
            errors += each if isinstance(each, list) else [each] if isinstance(each, Exception) else []
        raise_together(errors, f"errors in {self.name}")

    async def handle(self, event: Event) -> None:
        """Run the functions that listen to the event; raises what they raised when all have run."""
        raise_together(await self._handle(Event.of(event), tracing.records()), f"errors in {self.name}")

    @property
    def _overridden(self) -> bool:
        return getattr(self.handle, "__func__", None) is not LocalHandler.handle

    async def _handle(self, event: Event, records: bool) -> list[Exception]:
        token = current_event.set(event)
        try:
            if not records:
                return await self._run_all(event)
            with tracing.handle_span(event, self):
                return await self._run_all(event)
        finally:
            current_event.reset(token)

    async def _run_all(self, event: Event) -> list[Exception]:
        errors = []
        for subscription in self.subscriptions.match(event.name):
            error = await self._run(subscription, event)
            if error is not None:
                tracing.record_failure(error)
                errors.append(error)
        return errors

    async def _run(self, subscription: Subscription, event: Event) -> Exception | None:
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
        except asyncio.CancelledError as cancelled:
            if _we_are_cancelled():
                raise
            error: Exception = RuntimeError(f"{subscription.name} cancelled itself")
            error.__cause__ = cancelled
        except Exception as raised:
            error = raised
        else:
            return None
        lifecycle.report_failure([event], handler=self.name, subscription=subscription.name, error=error)
        return error

    @property
    def _registry(self) -> MutableMapping[str, list[Callable[..., Any]]]:
        return _Registry(self.subscriptions)

    @_registry.setter
    def _registry(self, functions: MutableMapping[str, list[Callable[..., Any]]]) -> None:
        view = _Registry(self.subscriptions)
        view.clear()
        view.update(functions)


class _Registry(MutableMapping[str, list[Callable[..., Any]]]):
    """The subscriptions as the dict of pattern to functions that they once were; public code looks at it."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions

    def __getitem__(self, pattern: str) -> list[Callable[..., Any]]:
        found = [each.function for each in self._subscriptions if each.pattern == pattern]
        if not found:
            raise KeyError(pattern)
        return found

    def __setitem__(self, pattern: str, functions: list[Callable[..., Any]]) -> None:
        self._keep(lambda each: each.pattern != pattern)
        for function in functions:
            self._subscriptions.add(
                Subscription(name_of(function), (pattern,), function, plan(function, by_annotation=False))
            )

    def __delitem__(self, pattern: str) -> None:
        self[pattern]  # raises KeyError
        self._keep(lambda each: each.pattern != pattern)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(each.pattern for each in self._subscriptions))

    def __len__(self) -> int:
        return len({each.pattern for each in self._subscriptions})

    def __repr__(self) -> str:
        return repr(dict(self))

    def _keep(self, wanted: Callable[[Subscription], bool]) -> None:
        self._subscriptions.replace([each for each in self._subscriptions if wanted(each)])


def _we_are_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


local_handler = LocalHandler()
"""The handler that most applications need one of."""
