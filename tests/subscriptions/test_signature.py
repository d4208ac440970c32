"""Parameters, read from every kind of callable."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from fastapi_events.subscriptions.signature import UNRESOLVED, describe, is_async, parameters_of

if TYPE_CHECKING:
    from decimal import Decimal


def function(a: int, b: Annotated[str, "meta"] = "x") -> None: ...


class Class:
    def __init__(self, a: int, b: Annotated[str, "meta"] = "x") -> None: ...

    def method(self, a: int, b: Annotated[str, "meta"] = "x") -> None: ...


class CallableObject:
    async def __call__(self, a: int, b: Annotated[str, "meta"] = "x") -> None: ...


@functools.wraps(function)
def wrapped(*args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    "kind", [function, Class, Class(1).method, CallableObject(), wrapped, functools.partial(function)]
)
def test_annotations_are_resolved_and_taken_apart(kind: Any) -> None:
    a, b = parameters_of(kind)
    assert (a.name, a.annotation, a.metadata, a.required) == ("a", int, (), True)
    assert (b.name, b.annotation, b.metadata, b.required) == ("b", str, ("meta",), False)


def test_local_names_are_found_while_their_function_runs() -> None:
    class Local: ...

    def work(value: Annotated[Local, "meta"]) -> None: ...

    [value] = parameters_of(work)
    assert (value.annotation, value.metadata) == (Local, ("meta",))


def test_what_cannot_be_resolved_harms_no_other_parameter() -> None:
    def work(a: int, price: Decimal) -> None: ...

    a, price = parameters_of(work)
    assert a.annotation is int
    assert price.annotation is UNRESOLVED
    assert price.spelled == "Decimal"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before, such a function could not be defined")
def test_annotations_that_are_evaluated_later_may_not_be_resolved() -> None:
    names: dict[str, Any] = {}
    code = "def work(event: OnlyForTypeCheckers, word: str = 'a'): ..."
    exec(compile(code, __file__, "exec", dont_inherit=True), names)

    first, second = parameters_of(names["work"])
    assert (first.annotation, first.spelled) == (UNRESOLVED, "OnlyForTypeCheckers")
    assert second.annotation is str


def test_names_for_messages_and_subscriptions() -> None:
    assert describe(function) == f"{__name__}.function"
    assert describe(functools.partial(function, 1)) == f"{__name__}.function"
    assert describe(CallableObject()) == f"{__name__}.CallableObject"
    assert describe(Class(1).method) == f"{__name__}.Class.method"
    assert is_async(CallableObject())
    assert not is_async(function)
