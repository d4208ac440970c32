"""`Depends`, for functions that have no request.

FastAPI is not imported here: its markers, and those of libraries like it, are known by their attributes.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, NamedTuple, Protocol, TypeAlias

from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.subscriptions.signature import (
    Parameter,
    describe,
    is_async,
    is_async_generator,
    is_depends,
    is_generator,
    parameters_of,
)

Overrides = Mapping[Callable[..., Any], Callable[..., Any]]


class Caller(Protocol):
    """How functions are called; see `runner`."""

    async def sync(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function that may block."""

    async def coro(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function that gives a coroutine, and wait for its result."""

    async def together(self, steps: Steps, *, is_sync: bool) -> None:
        """Take steps that belong together: in one thread where all of them are sync, else in one task."""


Steps: TypeAlias = Callable[[Caller], Coroutine[Any, Any, None]]
"""Calls that share a thread or a task, made by the means that they are given."""


class Dependency(NamedTuple):
    """A callable whose result a parameter wants, and what it needs itself."""

    call: Callable[..., Any]
    use_cache: bool
    needs: tuple[tuple[str, Dependency], ...]
    """Parameters filled by other dependencies."""
    events: tuple[str, ...]
    """Parameters annotated `Event`, which get the event."""
    is_sync: bool
    """Whether neither it nor what it needs is async."""


Dependencies: TypeAlias = tuple[tuple[str, Dependency], ...]
"""Parameters, each with the dependency that fills it."""


def find_depends(parameter: Parameter) -> Any | None:
    """The parameter's `Depends(…)`, as default or in `Annotated`."""
    candidates = (parameter.default, *parameter.metadata)
    return next((each for each in candidates if is_depends(each)), None)


def dependency_of(
    parameter: Parameter, depends: Any, *, asking: str, path: tuple[Any, ...] = ()
) -> Dependency:
    """What a `Depends` parameter needs, down to the last dependency.

    Parameters:
        asking: The subscription's name, for messages.
        path: The calls that led here, to find circles.

    Raises:
        ConfigurationError: When something on the way needs a request, or itself.
    """
    call = depends.dependency if depends.dependency is not None else parameter.annotation
    if not callable(call) or call is inspect.Parameter.empty:
        raise ConfigurationError(
            f"{asking}: Depends() of parameter {parameter.name!r} has nothing to call; "
            "name a function, or annotate the parameter with a class."
        )
    return analyse(call, asking=asking, use_cache=depends.use_cache, path=path)


def analyse(
    call: Callable[..., Any], *, asking: str, use_cache: bool = True, path: tuple[Any, ...] = ()
) -> Dependency:
    """Read the parameters of a dependency."""
    if call in path:
        raise ConfigurationError(f"{asking}: the dependency {describe(call)} depends on itself.")
    needs, events = [], []
    for parameter in parameters_of(call):
        depends = find_depends(parameter)
        if depends is not None:
            needs.append(
                (parameter.name, dependency_of(parameter, depends, asking=asking, path=(*path, call)))
            )
        elif parameter.annotation is Event:
            events.append(parameter.name)
        elif (parameter.required and not parameter.wrapped) or _wants_request_data(parameter):
            raise ConfigurationError(
                f"{asking}: the dependency {describe(call)} needs a request for its parameter "
                f"{parameter.name!r}, but an event is handled after the request, often in another process. "
                "Put what it needs into the payload, or use a dependency that does without."
            )
    is_sync = not (is_async(call) or is_async_generator(call)) and all(each.is_sync for _, each in needs)
    return Dependency(call, use_cache, tuple(needs), tuple(events), is_sync)


def is_sync_throughout(dependency: Dependency, overrides: Overrides) -> bool:
    """Whether nothing async runs when a dependency is solved."""
    if not overrides:
        return dependency.is_sync
    dependency = _overridden(dependency, overrides)
    return not (is_async(dependency.call) or is_async_generator(dependency.call)) and all(
        is_sync_throughout(each, overrides) for _, each in dependency.needs
    )


def _overridden(dependency: Dependency, overrides: Overrides) -> Dependency:
    replacement = overrides.get(dependency.call)
    if replacement is None:
        return dependency
    return analyse(replacement, asking=f"the override of {describe(dependency.call)}")


def _wants_request_data(parameter: Parameter) -> bool:
    params = sys.modules.get("fastapi.params")
    kinds: tuple[type, ...] = () if params is None else (params.Param, params.Body)
    if any(isinstance(each, kinds) for each in (parameter.default, *parameter.metadata)):
        return True
    requests = sys.modules.get("starlette.requests")
    annotation = parameter.annotation
    return requests is not None and isinstance(annotation, type) and issubclass(
        annotation, requests.HTTPConnection
    )  # fmt: skip


async def solve(
    dependency: Dependency,
    event: Event,
    *,
    caller: Caller,
    overrides: Overrides,
    cache: dict[Callable[..., Any], Any],
    stack: AsyncExitStack,
) -> Any:
    """The dependency's value for one event.

    Parameters:
        overrides: Dependencies to replace, as in `app.dependency_overrides`.
        cache: The values that this event's dependencies have given so far.
        stack: Where the teardown of a `yield` dependency is left.
    """
    original = dependency.call
    if dependency.use_cache and original in cache:
        return cache[original]
    dependency = _overridden(dependency, overrides)
    arguments: dict[str, Any] = dict.fromkeys(dependency.events, event)
    for name, needed in dependency.needs:
        arguments[name] = await solve(
            needed, event, caller=caller, overrides=overrides, cache=cache, stack=stack
        )
    value = await _call(dependency.call, arguments, caller, stack)
    cache.setdefault(original, value)
    return value


async def _call(
    call: Callable[..., Any], arguments: dict[str, Any], caller: Caller, stack: AsyncExitStack
) -> Any:
    if is_async_generator(call):
        manager = asynccontextmanager(call)(**arguments)
        value = await caller.coro(manager.__aenter__)
        stack.push_async_exit(_never_swallowing(caller.coro, manager.__aexit__))
        return value
    if is_generator(call):
        blocking = contextmanager(call)(**arguments)
        value = await caller.sync(blocking.__enter__)
        stack.push_async_exit(_never_swallowing(caller.sync, blocking.__exit__))
        return value
    if is_async(call):
        return await caller.coro(call, **arguments)
    return await caller.sync(call, **arguments)


def _never_swallowing(how: Callable[..., Any], leave: Callable[..., Any]) -> Any:
    # A dependency that catches the subscription's error and goes on must not turn a failure into a
    # success: the event would never be tried again.
    async def teardown(kind: Any, error: Any, trace: Any) -> bool:
        await how(leave, kind, error, trace)
        return False

    return teardown
