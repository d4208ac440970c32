"""How a subscription's function is called: worked out once, when it is registered."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.subscriptions.dependencies import Dependency, dependency_of, find_depends
from fastapi_events.subscriptions.payload import PayloadType, is_payload_type
from fastapi_events.subscriptions.signature import (
    UNRESOLVED,
    Parameter,
    describe,
    is_async,
    is_async_generator,
    is_generator,
    parameters_of,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to pass to a function.

    Parameters:
        function: What is called.
        is_async: Whether calling it gives a coroutine.
        takes_event: Whether its first positional argument is the event.
        payload_argument: Whether its first positional argument is the payload as `payload_type`.
        payload_type: The type as which the payload is handed over, None for plain data.
        events: Keyword parameters that get the event.
        payloads: Keyword parameters that get the payload, each as its type.
        dependencies: Keyword parameters that get a dependency's value.
    """

    function: Callable[..., Any]
    is_async: bool
    takes_event: bool = False
    payload_argument: bool = False
    payload_type: PayloadType | None = None
    events: tuple[str, ...] = ()
    payloads: tuple[tuple[str, PayloadType], ...] = ()
    dependencies: tuple[tuple[str, Dependency], ...] = ()
    is_simple: bool = field(init=False)
    """Whether the event is all that the function takes."""

    def __post_init__(self) -> None:
        asks_more = self.payload_type or self.events or self.payloads or self.dependencies
        object.__setattr__(self, "is_simple", self.takes_event and not asks_more)

    @property
    def first(self) -> tuple[bool, bool, Any]:
        """What the function is called with, for comparison: the event or the payload, and as what."""
        kind = None if self.payload_type is None else self.payload_type.annotation
        return self.takes_event, self.payload_argument, kind


def plan(function: Callable[..., Any], *, model: type | None = None, by_annotation: bool = True) -> Plan:
    """Read a function's parameters.

    The first parameter gets the event, or the payload where it is annotated with a model, a dataclass or a
    `TypedDict`, or where `model` was registered. Others are dependencies, events or payloads by their
    annotations; what has a default keeps it.

    Parameters:
        function: What is going to be called.
        model: The type as which the payload was asked for at registration.
        by_annotation: Whether an annotation alone asks for the payload; without it the first parameter gets
            the event, unless there is a `model`.

    Raises:
        ConfigurationError: When a parameter cannot be filled, with its name and the likely cause.
    """
    asking = describe(function)
    if is_generator(function) or is_async_generator(function):
        raise ConfigurationError(f"{asking} yields, and would never run: a subscription is a plain function.")
    model_type = PayloadType(model) if model is not None else None
    positional: dict[str, Any] = {}
    events, payloads, dependencies = [], [], []
    for parameter in parameters_of(function):
        depends = find_depends(parameter)
        if depends is not None:
            dependencies.append((parameter.name, dependency_of(parameter, depends, asking=asking)))
        elif not positional and _can_be_first(parameter):
            positional = _first(parameter, model_type, asking, by_annotation=by_annotation)
        elif not parameter.required and not by_annotation:
            continue
        elif parameter.annotation is Event:
            events.append(parameter.name)
        elif is_payload_type(parameter.annotation):
            payloads.append((parameter.name, PayloadType(parameter.annotation)))
        elif parameter.required and not parameter.wrapped:
            raise ConfigurationError(_cannot_fill(parameter, asking))
    return Plan(
        function,
        is_async(function),
        events=tuple(events),
        payloads=tuple(payloads),
        dependencies=tuple(dependencies),
        **positional,
    )


def _can_be_first(parameter: Parameter) -> bool:
    return parameter.kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )


def _first(
    parameter: Parameter, model: PayloadType | None, asking: str, *, by_annotation: bool
) -> dict[str, Any]:
    annotation = parameter.annotation
    if model is None and not by_annotation:
        return {"takes_event": True}
    if annotation is UNRESOLVED and parameter.spelled.rpartition(".")[2] != "Event":
        raise ConfigurationError(
            f"{asking}: the annotation {parameter.spelled!r} of parameter {parameter.name!r} cannot be "
            "resolved where the function is defined; import the type at the top of the module, "
            "outside of TYPE_CHECKING."
        )
    if is_payload_type(annotation):
        return {"payload_argument": True, "payload_type": PayloadType(annotation)}
    if model is not None and annotation is not Event and annotation is not UNRESOLVED:
        return {"payload_argument": True, "payload_type": model}
    return {"takes_event": True, "payload_type": model}


def _cannot_fill(parameter: Parameter, asking: str) -> str:
    if parameter.annotation is UNRESOLVED:
        cause = f"its annotation {parameter.spelled!r} cannot be resolved where the function is defined"
    else:
        cause = (
            "it is neither annotated as Event, as a model, dataclass or TypedDict (the payload), "
            "nor as a dependency (which needs FastAPI's Depends)"
        )
    return f"{asking}: parameter {parameter.name!r} cannot be filled: {cause}."
