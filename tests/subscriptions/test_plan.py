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


@pytest.mark.parametrize("by_annotation", [True, False])
def test_a_dependency_may_come_first(by_annotation: bool) -> None:
    def work(db: Annotated[str, Depends(session)], event: Event): ...
    def again(db=Depends(session), event=None): ...

    for function in (work, again):
        read = plan(function, by_annotation=by_annotation)
        assert read.takes_event
        assert read.first_name == "event"
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


@pytest.mark.parametrize(
    ("given", "named"), [(None, "None"), (7, "an object of type int"), ("cat", "an object of type str")]
)
def test_what_is_no_function_is_refused(given: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"got {named}: expected a function, .*without calling it"):
        plan(given)


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


LOOSE = [Fish, Bone, Milk, dict, int, list[Fish], Fish | None, Event, "typing_only.Unknown", Any, tuple]


@pytest.mark.parametrize("annotation", LOOSE)
def test_where_the_function_runs_locally_an_annotation_changes_nothing(annotation: Any) -> None:
    def work(event): ...

    work.__annotations__["event"] = annotation

    assert plan(work, by_annotation=False).is_simple
    by_model = plan(work, model=Fish, by_annotation=False)
    assert by_model.takes_event is (annotation in (Event, tuple))
    assert by_model.payload_type is not None
    assert by_model.payload_type.annotation is Fish


def default() -> list[Any]:
    def nothing(event=None): ...
    def optional(event: Event | None = None): ...
    def pair(event: tuple[str, Any] = ("", None)): ...

    return [nothing, optional, pair]


@pytest.mark.parametrize("function", default(), ids=lambda each: each.__name__)
def test_the_first_parameter_is_the_events_though_it_has_a_default(function: Any) -> None:
    assert plan(function).is_simple
    assert plan(function, by_annotation=False).is_simple


def test_a_default_does_not_change_what_the_annotation_asks_for() -> None:
    def work(payload: dict | None = None): ...

    assert plan(work).payload_argument
    assert plan(work, by_annotation=False).is_simple


@pytest.mark.parametrize(
    "annotation",
    [Fish | Bone, Fish | None, list[Fish], dict, dict[str, Fish], int, str, Milk, Bone, set[int]],
)
def test_elsewhere_whatever_pydantic_can_validate_is_the_payload(annotation: Any) -> None:
    def work(payload): ...

    work.__annotations__["payload"] = annotation

    read = plan(work)
    assert read.payload_argument
    assert read.payload_type is not None
    assert read.payload_type.annotation == annotation


def test_what_pydantic_cannot_validate_is_refused() -> None:
    class Session: ...

    def work(event: Session): ...

    with pytest.raises(ConfigurationError, match=r"its payload as .*Session, which pydantic cannot"):
        plan(work)
    assert plan(work, by_annotation=False).is_simple


class Kitchen:
    def annotated(self, event: Event) -> None: ...
    def model(self, fish: Fish) -> None: ...
    def alone(self) -> None: ...
    def cook(self, event) -> None: ...

    @staticmethod
    def static(event: Event) -> None: ...


@pytest.mark.parametrize("by_annotation", [True, False])
def test_a_method_in_the_body_of_its_class_is_refused(by_annotation: bool) -> None:
    for function in (Kitchen.annotated, Kitchen.model):
        with pytest.raises(ConfigurationError, match=r"'self' would get the event.*Kitchen\(\).cook"):
            plan(function, by_annotation=by_annotation)
    for function in (Kitchen().annotated, Kitchen().cook, Kitchen.static):
        assert plan(function, by_annotation=by_annotation).is_simple
    with pytest.raises(ConfigurationError, match=r"'event' cannot be filled.*Kitchen\(\).cook"):
        plan(Kitchen.cook, by_annotation=by_annotation)


def test_a_method_that_takes_nothing_but_itself_is_refused_where_nobody_relies_on_it() -> None:
    with pytest.raises(ConfigurationError, match="'self' would get the event"):
        plan(Kitchen.alone)
    assert plan(Kitchen.alone, by_annotation=False).is_simple


@pytest.mark.parametrize("by_annotation", [True, False])
def test_an_unannotated_parameter_before_the_event_is_refused(by_annotation: bool) -> None:
    def work(kitchen, event: Event): ...

    with pytest.raises(ConfigurationError, match="'kitchen' would get the event, and so would 'event'"):
        plan(work, by_annotation=by_annotation)


def test_a_further_parameter_is_the_payload_where_it_can_be_nothing_else() -> None:
    def work(event: Event, fish: list[Fish], milk: Fish | Bone): ...

    assert [name for name, _ in plan(work).payloads] == ["fish", "milk"]
    assert [name for name, _ in plan(work, by_annotation=False).payloads] == ["fish", "milk"]


def test_where_the_function_runs_locally_a_further_default_stays() -> None:
    def work(event: Event, fish: Fish | None = None, again: Event = None): ...  # type: ignore[assignment]

    assert plan(work, by_annotation=False).is_simple
    assert plan(work).events == ("again",)


def test_what_must_be_passed_by_its_position_is_refused() -> None:
    def work(event, db=Depends(session), /): ...

    with pytest.raises(ConfigurationError, match="must not stand before the /"):
        plan(work)


def filling(function: Any) -> Any:
    """Decorate in the way that fills parameters by itself."""

    @functools.wraps(function)
    def wrapper(event): ...

    return wrapper


def filling_any(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args, **kwargs): ...

    return wrapper


@filling
def filled(event, kitchen, db=Depends(session)): ...


@filling_any
def filled_through(event: Fish, kitchen, knife: Fish, db=Depends(session)): ...


@filling_any
@filling
def filled_inside(event: Fish, kitchen, db=Depends(session)): ...


def test_a_decorator_that_takes_the_event_gets_it_and_nothing_else() -> None:
    assert plan(filled, by_annotation=False).is_simple
    assert plan(filled).is_simple
    assert plan(filled_inside, by_annotation=False).is_simple


def test_a_decorator_that_takes_anything_gets_the_event_and_the_dependencies() -> None:
    read = plan(filled_through, by_annotation=False)
    assert read.takes_event
    assert not read.payloads
    assert [name for name, _ in read.dependencies] == ["db"]


def test_elsewhere_a_decorator_that_takes_anything_changes_nothing_of_what_is_inside() -> None:
    read = plan(filled_through)
    assert read.payload_argument
    assert [name for name, _ in read.payloads] == ["knife"]
    assert [name for name, _ in read.dependencies] == ["db"]


def test_a_decorator_written_in_c_is_looked_through() -> None:
    @functools.cache
    def work(event, db=Depends(session)): ...

    assert [name for name, _ in plan(work, by_annotation=False).dependencies] == ["db"]


def test_a_method_behind_a_decorator_is_bound() -> None:
    class Chef:
        @filling_any
        def cook(self, event: Fish, db=Depends(session)) -> None: ...

    read = plan(Chef().cook)
    assert read.payload_argument
    assert [name for name, _ in read.dependencies] == ["db"]
