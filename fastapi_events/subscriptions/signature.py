"""What a function's parameters ask for, read once when it is registered."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, NamedTuple

UNRESOLVED = object()
"""Stands for an annotation that names something unknown where the function was defined."""


_AS_WRITTEN: dict[str, Any] = {}

if sys.version_info >= (3, 14):  # annotations are evaluated when somebody asks, and may then fail
    import annotationlib

    _AS_WRITTEN = {"annotation_format": annotationlib.Format.FORWARDREF}

    def _annotations(function: Any) -> Any:
        return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)

else:

    def _annotations(function: Any) -> Any:
        return getattr(function, "__annotations__", None)


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Parameter(NamedTuple):
    """One parameter, with its annotation taken apart."""

    name: str
    kind: Any
    default: Any
    annotation: Any
    """The bare type; `UNRESOLVED` or `inspect.Parameter.empty` where there is none to use."""
    metadata: tuple[Any, ...]
    """What stands beside the type in `Annotated[…]`."""
    spelled: str
    """The annotation as written, for messages."""
    wrapped: bool = False
    """Whether it is a parameter of the function that this one wraps, rather than of the function itself."""

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty and self.kind not in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        )


def parameters_of(function: Callable[..., Any]) -> list[Parameter]:
    """The parameters of a function, class, bound method, partial or callable object.

    A wrapper made with `functools.wraps` claims the signature of what it wraps. What it takes itself counts;
    parameters that it only passes on are marked as `wrapped`.
    """
    found = []
    hints = _hints(function)
    for parameter, wrapped in _own_and_wrapped(function):
        hint = hints.get(parameter.name, inspect.Parameter.empty)
        metadata: tuple[Any, ...] = ()
        if typing.get_origin(hint) is typing.Annotated:
            metadata, hint = hint.__metadata__, hint.__origin__
        spelled = getattr(parameter.annotation, "__forward_arg__", parameter.annotation)
        found.append(
            Parameter(
                parameter.name,
                parameter.kind,
                parameter.default,
                hint,
                metadata,
                spelled if isinstance(spelled, str) else getattr(spelled, "__name__", repr(spelled)),
                wrapped,
            )
        )
    return found


def is_depends(value: Any) -> bool:
    """Whether a default or a piece of metadata is a `Depends(…)`, of FastAPI or a library like it."""
    return isinstance(getattr(value, "use_cache", None), bool) and hasattr(value, "dependency")


def _own_and_wrapped(function: Callable[..., Any]) -> list[tuple[inspect.Parameter, bool]]:
    """What a callable takes, each with whether only the function that it wraps has a name for it."""
    own = signature_of(function).parameters
    claimed = signature_of(inside(function)).parameters
    if list(own) == list(claimed):
        return [(parameter, False) for parameter in own.values()]
    # A dependency may stand as default of what is wrapped only, and the wrapper passes it on.
    found = [(_with_dependency(each, claimed), False) for each in own.values() if each.kind not in _VARIADIC]
    others = [each for name, each in claimed.items() if name not in own]
    kinds = {each.kind: each for each in own.values()}
    if inspect.Parameter.VAR_POSITIONAL in kinds and not any(each.kind in _POSITIONAL for each, _ in found):
        if others and others[0].kind in _POSITIONAL:
            found.insert(0, (others.pop(0), True))
        else:
            found.insert(0, (kinds[inspect.Parameter.VAR_POSITIONAL], False))
    if inspect.Parameter.VAR_KEYWORD in kinds:
        found += [(each, True) for each in others if each.kind is not inspect.Parameter.POSITIONAL_ONLY]
    return found


def _with_dependency(
    parameter: inspect.Parameter, claimed: Mapping[str, inspect.Parameter]
) -> inspect.Parameter:
    other = claimed.get(parameter.name)
    if other is not None and is_depends(other.default):
        return parameter.replace(default=other.default)
    return parameter


def inside(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that gets what a decorator made with `functools.wraps` passes on.

    That is the first in the chain without `**kwargs`, or the last; the function itself where it is no
    decorator's.
    """
    if isinstance(function, functools.partial):
        return functools.partial(inside(function.func), *function.args, **function.keywords)
    if inspect.ismethod(function):
        return types.MethodType(inside(function.__func__), function.__self__)
    last: Callable[..., Any] = inspect.unwrap(function, stop=lambda each: not _takes_any_keyword(each))
    return last


def describe(function: Callable[..., Any]) -> str:
    """The function's `module.qualname`, as far as it has one."""
    function = innermost(function)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', None) or type(function).__module__}.{name}"


def innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function inside of partials."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def is_in_class(function: Callable[..., Any]) -> bool:
    """Whether it was defined in the body of a class, and is bound to no object."""
    name = "" if inspect.ismethod(function) else getattr(function, "__qualname__", "")
    return "." in name and not name.rpartition(".")[0].endswith("<locals>")


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling the function gives a coroutine."""
    return _is(inspect.iscoroutinefunction, function)


def is_generator(function: Callable[..., Any]) -> bool:
    """Whether the function yields."""
    return _is(inspect.isgeneratorfunction, function)


def is_async_generator(function: Callable[..., Any]) -> bool:
    """Whether the function yields and is async."""
    return _is(inspect.isasyncgenfunction, function)


def _is(test: Callable[[Any], bool], function: Callable[..., Any]) -> bool:
    function = innermost(function)
    # A mock with the spec of a function passes for one, and has a mock for its code.
    code = getattr(function, "__code__", None)
    if isinstance(getattr(code, "co_flags", 0), int) and test(function):
        return True
    return not isinstance(function, type) and test(_call_method(function))


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """What a callable takes itself, not what it wraps."""
    # A decorator written in C, such as `functools.cache`, can only be looked through; and of some built-in
    # functions, and of mocks, Python cannot tell.
    for follow_wrapped in (False, True):
        with suppress(TypeError, ValueError):
            return inspect.signature(function, follow_wrapped=follow_wrapped, **_AS_WRITTEN)
    return inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)])


def _takes_any_keyword(function: Callable[..., Any]) -> bool:
    return any(
        each.kind is inspect.Parameter.VAR_KEYWORD for each in signature_of(function).parameters.values()
    )


def _call_method(instance: Any) -> Any:
    return getattr(type(instance), "__call__", None)  # noqa: B004 - the method is wanted, not whether there is one


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    annotated = innermost(function)
    if isinstance(annotated, type):
        annotated = annotated.__init__  # type: ignore[misc]  # on the class: its signature is what we want
    elif not inspect.isroutine(annotated):
        annotated = _call_method(annotated)
    annotated = inspect.unwrap(annotated)
    around = _names_around(annotated)
    try:
        return typing.get_type_hints(annotated, localns=around, include_extras=True)
    except (NameError, AttributeError, TypeError, ValueError):
        return _hints_one_by_one(annotated, around)


def _hints_one_by_one(function: Any, around: dict[str, Any] | None) -> dict[str, Any]:
    """The annotations that can be resolved, where some cannot: names imported for type checkers only."""
    hints = {}
    names = getattr(function, "__globals__", {})
    written: Any = None
    with suppress(ValueError):  # of a mock, whose annotations are another mock
        written = _annotations(function)
    for name, annotation in written.items() if isinstance(written, dict) else ():
        try:
            single = SimpleNamespace(__annotations__={name: annotation})
            hints.update(typing.get_type_hints(single, names, around, include_extras=True))
        except (NameError, AttributeError, TypeError):
            hints[name] = UNRESOLVED
    return hints


def _names_around(function: Any) -> dict[str, Any] | None:
    """The local names of the function that has just defined this one, if it is still running.

    An annotation that is text, as under `from __future__ import annotations`, may name them.
    """
    code = getattr(function, "__code__", None)
    frame = inspect.currentframe()
    while code is not None and frame is not None:
        if code in frame.f_code.co_consts:
            return dict(frame.f_locals)
        frame = frame.f_back
    return None
