"""How a subscription's function is called: worked out once, when it is registered."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.subscriptions.annotations import (
    asks_for_event,
    is_payload_type,
    is_structured,
    says_nothing,
)
from fastapi_events.subscriptions.dependencies import Dependencies, Dependency, dependency_of, find_depends
from fastapi_events.subscriptions.payload import PayloadType, payload_type
from fastapi_events.subscriptions.signature import (
    UNRESOLVED,
    Parameter,
    describe,
    inside,
    is_async,
    is_async_generator,
    is_generator,
    is_in_class,
    parameters_of,
)

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_REGISTER_A_METHOD = (
    "Register a method of an object, handler.register(Kitchen().cook), not the function in the body of its "
    "class"
)

_names_event = re.compile(r"\bEvent\b").search


class Plan(NamedTuple):
    """What to pass to a function.

    Parameters:
        function: What is called.
        is_async: Whether calling it gives a coroutine.
        takes_event: Whether its first positional argument is the event.
        payload_argument: Whether its first positional argument is the payload as `payload_type`.
        first_name: The parameter that gets this argument, where a dependency stands before it.
        payload_type: The type as which the payload is handed over, None for plain data.
        events: Keyword parameters that get the event.
        payloads: Keyword parameters that get the payload, each as its type.
        dependencies: Keyword parameters that get a dependency's value.
        is_simple: Whether the event is all that the function takes.
    """

    function: Callable[..., Any]
    is_async: bool
    takes_event: bool = False
    payload_argument: bool = False
    payload_type: PayloadType | None = None
    events: tuple[str, ...] = ()
    payloads: tuple[tuple[str, PayloadType], ...] = ()
    dependencies: Dependencies = ()
    first_name: str | None = None
    is_simple: bool = False

    @property
    def first(self) -> tuple[bool, bool, Any]:
        """What the function is called with, for comparison: the event or the payload, and as what."""
        kind = None if self.payload_type is None else self.payload_type.annotation
        return self.takes_event, self.payload_argument, kind


def plan(function: Callable[..., Any], *, model: type | None = None, by_annotation: bool = True) -> Plan:
    """Read a function's parameters.

    The first that is no dependency gets the event, or the payload as its annotation or `model` says. Others
    are dependencies, events or payloads by their annotations. Of a function inside of a decorator made with
    `functools.wraps`, what the decorator itself takes decides.

    Parameters:
        model: What the payload is to be, where the annotation asks for nothing else.
        by_annotation: Whether an annotation alone asks for the payload. Without it the first parameter gets
            the event, unless there is a `model`; what has a default keeps it, and a decorator fills by itself
            what it hides.

    Raises:
        ConfigurationError: When a parameter cannot be filled, with its name and the likely cause.
    """
    if not callable(function):
        raise ConfigurationError(_no_function(function))
    asking = describe(function)
    if is_generator(function) or is_async_generator(function):
        raise ConfigurationError(f"{asking} yields, and would never run: a subscription is a plain function.")
    parameters = parameters_of(function)
    first, by_name = _find_first(function, parameters, by_annotation=by_annotation)
    found = _Found(asking, by_annotation)
    for parameter in parameters:
        if parameter is first or found.take(parameter):
            continue
        if parameter.required and not parameter.wrapped:
            raise ConfigurationError(_cannot_fill(parameter, asking) + _method_hint(function, first))
    if first is not None:
        _refuse_a_method(function, first, found)
    made = Plan(
        function,
        is_async(function),
        events=tuple(found.events),
        payloads=tuple(found.payloads),
        dependencies=tuple(found.dependencies),
        first_name=first.name if first is not None and by_name else None,
        **({} if first is None else _what_first_gets(first, model, asking, by_annotation=by_annotation)),
    )
    asks_more = made.payload_type or made.events or made.payloads or made.dependencies
    return made._replace(is_simple=made.takes_event and not asks_more)


class _Found:
    """The parameters beside the first, by what they get."""

    def __init__(self, asking: str, by_annotation: bool) -> None:
        self.asking = asking
        self.by_annotation = by_annotation
        self.events: list[str] = []
        self.payloads: list[tuple[str, PayloadType]] = []
        self.dependencies: list[tuple[str, Dependency]] = []

    def take(self, parameter: Parameter) -> bool:
        """Whether the parameter can be filled."""
        depends = find_depends(parameter)
        if depends is None and not self._asks(parameter):
            return False
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise ConfigurationError(
                f"{self.asking}: parameter {parameter.name!r} would be filled by its name; it must not stand "
                "before the /."
            )
        if depends is not None:
            self.dependencies.append((parameter.name, dependency_of(parameter, depends, asking=self.asking)))
        elif asks_for_event(parameter.annotation):
            self.events.append(parameter.name)
        else:
            self.payloads.append(
                (
                    parameter.name,
                    payload_type(parameter.annotation, asking=self.asking, travels=self.by_annotation),
                )
            )
        return True

    def _asks(self, parameter: Parameter) -> bool:
        if parameter.kind in _VARIABLE:
            return False
        if not self.by_annotation and (parameter.wrapped or not parameter.required):
            return False
        if parameter.annotation is Event or is_payload_type(parameter.annotation):
            return True
        return parameter.required and (
            asks_for_event(parameter.annotation) or is_structured(parameter.annotation)
        )


def _find_first(
    function: Callable[..., Any], parameters: Sequence[Parameter], *, by_annotation: bool
) -> tuple[Parameter | None, bool]:
    """The parameter that gets the event or the payload, and whether by its name, after a dependency."""
    after_dependency = False
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            # A decorator that takes anything, around a function that takes no event.
            is_transparent = by_annotation and inside(function) is not function
            return (None if after_dependency or is_transparent else parameter), False
        if parameter.kind not in _POSITIONAL:
            break
        if find_depends(parameter) is None:
            return parameter, after_dependency
        after_dependency = True
    return None, False


def _what_first_gets(
    parameter: Parameter, model: type | None, asking: str, *, by_annotation: bool
) -> dict[str, Any]:
    annotation = parameter.annotation
    unknown = annotation is UNRESOLVED
    event = _names_event(parameter.spelled) is not None if unknown else asks_for_event(annotation)
    asked_for = None if model is None else payload_type(model, asking=asking, travels=by_annotation)
    if event or (model is None and not by_annotation):
        return {"takes_event": True, "payload_type": asked_for}
    if unknown and by_annotation:
        raise ConfigurationError(
            f"{asking}: the annotation {parameter.spelled!r} of parameter {parameter.name!r} cannot be "
            "resolved where the function is defined; import the type at the top of the module, "
            "outside of TYPE_CHECKING."
        )
    if by_annotation and not says_nothing(annotation):
        return {
            "payload_argument": True,
            "payload_type": payload_type(annotation, asking=asking, travels=True),
        }
    if asked_for is not None:
        return {"payload_argument": True, "payload_type": asked_for}
    return {"takes_event": True}


def _refuse_a_method(function: Callable[..., Any], first: Parameter, found: _Found) -> None:
    """Refuse a first parameter that is meant for something else, as `self` is in the body of a class."""
    if first.annotation is not inspect.Parameter.empty:
        return
    if found.events or (_is_self(function, first) and (found.payloads or found.by_annotation)):
        raise ConfigurationError(
            f"{found.asking}: its first parameter {first.name!r} would get the event"
            + (f", and so would {found.events[0]!r}" if found.events else "")
            + f". {_REGISTER_A_METHOD}; elsewhere, put the parameter that gets the event first."
        )


def _is_self(function: Callable[..., Any], first: Parameter) -> bool:
    return first.name in ("self", "cls") and is_in_class(function)


def _method_hint(function: Callable[..., Any], first: Parameter | None) -> str:
    """What to add for a method without annotations, whose second parameter looks like the one too many."""
    if first is None or not _is_self(function, first):
        return ""
    return f" {first.name!r} would get the event. {_REGISTER_A_METHOD}."


def _no_function(given: object) -> str:
    shown = "None" if given is None else f"an object of type {type(given).__name__}"
    return f"register(…) got {shown}: expected a function, which is named without calling it."


def _cannot_fill(parameter: Parameter, asking: str) -> str:
    if parameter.annotation is UNRESOLVED:
        cause = f"its annotation {parameter.spelled!r} cannot be resolved where the function is defined"
    else:
        cause = (
            "it is neither annotated as Event, as a model, dataclass, TypedDict or collection (the payload), "
            "nor as a dependency (which needs FastAPI's Depends)"
        )
    return f"{asking}: parameter {parameter.name!r} cannot be filled: {cause}."
