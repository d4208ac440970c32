"""How parameters are read: what a function may ask for, and what is refused with which words."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated, Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from fastapi import Depends, Header, Query, Request
from pydantic import BaseModel
from typing_extensions import TypedDict

from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.subscriptions.plan import plan

if TYPE_CHECKING:
    from decimal import Decimal


class Fish(BaseModel):
    size: int


@dataclasses.dataclass
class Bone:
    length: int


class Milk(TypedDict):
    litres: float


def session() -> str:
    return "session"


def test_the_first_parameter_gets_the_event() -> None:
    def unannotated(event): ...
    def annotated(event: Event): ...
    def anything(event: tuple[str, Any]): ...
    def positional_only(event, /): ...
    def star(*args, **kwargs): ...

    for function in (unannotated, annotated, anything, positional_only, star, MagicMock(), AsyncMock()):
        assert plan(function).is_simple, function


def test_async_functions_are_known_however_they_are_wrapped() -> None:
    async def work(event): ...

    class Callable:
        async def __call__(self, event): ...

    for function in (work, functools.partial(work), Callable(), AsyncMock()):
        assert plan(function).is_async, function
    assert not plan(lambda event: None).is_async


@pytest.mark.parametrize("kind", [Fish, Bone, Milk])
def test_a_payload_type_gets_the_payload(kind: Any) -> None:
    def first(payload): ...
    def second(event: Event, payload): ...

    first.__annotations__["payload"] = kind
    second.__annotations__["payload"] = kind

    assert plan(first).payload_argument
    assert [name for name, _ in plan(second).payloads] == ["payload"]


def test_a_function_may_take_nothing() -> None:
    def nothing(): ...

    read = plan(nothing)
    assert not (read.takes_event)
    assert not (read.payload_argument)
    assert not (read.dependencies)


def test_dependencies_are_found_as_default_and_in_annotated() -> None:
    def work(event, a=Depends(session), *, b: Annotated[str, Depends(session)]): ...

    assert [name for name, _ in plan(work).dependencies] == ["a", "b"]


def test_a_dependency_may_come_first() -> None:
    def work(db: Annotated[str, Depends(session)], event: Event): ...

    read = plan(work)
    assert read.takes_event or read.events == ("event",)
    assert [name for name, _ in read.dependencies] == ["db"]


def test_a_class_is_a_dependency_by_its_annotation() -> None:
    class Session:
        def __init__(self, name: Annotated[str, Depends(session)]) -> None: ...

    def work(event, db: Session = Depends()): ...

    work.__annotations__["db"] = Session
    [(_, dependency)] = plan(work).dependencies
    assert dependency.call is Session
    assert [name for name, _ in dependency.needs] == ["name"]


def needs_query(q: str): ...
def needs_header(token: Annotated[str, Header()] = "x"): ...
def needs_default_query(q: str = Query("x")): ...
def needs_request(request: Request): ...
def needs_one_that_needs(db: Annotated[str, Depends(needs_request)]): ...


@pytest.mark.parametrize(
    "dependency", [needs_query, needs_header, needs_default_query, needs_request, needs_one_that_needs]
)
def test_a_dependency_that_needs_a_request_is_refused_at_once(dependency: Any) -> None:
    def work(event, value=Depends(dependency)): ...

    with pytest.raises(ConfigurationError, match="needs a request for its parameter") as raised:
        plan(work)
    assert "work" in str(raised.value)


def test_a_dependency_may_ask_for_the_event() -> None:
    def name_of(event: Event): ...
    def work(event, name=Depends(name_of)): ...

    [(_, dependency)] = plan(work).dependencies
    assert dependency.events == ("event",)


def test_a_circle_is_refused() -> None:
    def a(b): ...
    def b(a): ...

    a.__defaults__ = (Depends(b),)
    b.__defaults__ = (Depends(a),)

    with pytest.raises(ConfigurationError, match="depends on itself"):
        plan(lambda event, a=Depends(a): None)


def test_a_parameter_that_cannot_be_filled_is_refused_with_its_name() -> None:
    def work(event, size: int): ...

    with pytest.raises(ConfigurationError, match="parameter 'size' cannot be filled"):
        plan(work)


def test_an_annotation_for_type_checkers_only_is_refused_with_the_cure() -> None:
    def work(price: Decimal): ...

    with pytest.raises(ConfigurationError, match="outside of TYPE_CHECKING"):
        plan(work)


def test_an_event_annotated_for_type_checkers_only_is_fine() -> None:
    def work(event: Event): ...

    work.__annotations__["event"] = "typing_only.Event"

    assert plan(work).is_simple


def test_a_function_that_yields_is_refused_since_it_would_never_run() -> None:
    def generator(event):
        yield

    async def async_generator(event):
        yield

    for function in (generator, async_generator):
        with pytest.raises(ConfigurationError, match="would never run"):
            plan(function)


def test_what_has_a_default_keeps_it() -> None:
    def work(event, retries: int = 3): ...

    assert plan(work).is_simple
