"""The ways in which public code registers functions with a `LocalHandler`."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional
from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

import pytest
from fastapi import Depends
from pydantic import BaseModel

from fastapi_events.handlers.local import LocalHandler
from fastapi_events.typing import Event

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeCheckers


class Order(BaseModel):
    order_id: int


GIVEN = ("ordered", {"what": "a payload that is no Order"})


def given_to(register: Callable[[LocalHandler], None]) -> None:
    handler = LocalHandler()
    register(handler)
    asyncio.run(handler.handle(GIVEN))  # type: ignore[arg-type]


def ignoring_its_type(event: Order) -> None:
    seen.append(event)


def ignoring_its_type_though_a_default(event: Order = None) -> None:  # type: ignore[assignment]
    seen.append(event)


def optional(event: Optional[Event] = None) -> None:  # noqa: UP045 - as it is written in old code
    seen.append(event)


def a_dict(event: dict = None) -> None:  # type: ignore[type-arg, assignment] # noqa: RUF013
    seen.append(event)


def untyped_with_a_default(event=None):  # type: ignore[no-untyped-def]
    seen.append(event)


def known_to_type_checkers_only(event: OnlyForTypeCheckers) -> None:
    seen.append(event)


def any_arguments(*args: Any, **kwargs: Any) -> None:
    seen.extend(args)


async def asynchronous(event: Order) -> None:
    seen.append(event)


def keeping_other_defaults(event: Event, order: Order | None = None, also: Event | None = None) -> None:
    assert order is None
    assert also is None
    seen.append(event)


seen: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


@pytest.mark.parametrize(
    "function",
    [
        ignoring_its_type, ignoring_its_type_though_a_default, optional, a_dict, untyped_with_a_default,
        known_to_type_checkers_only, any_arguments, asynchronous, keeping_other_defaults,
    ],
)  # fmt: skip
def test_the_first_parameter_gets_the_pair_whatever_is_said_of_it(function: Callable[..., Any]) -> None:
    given_to(lambda handler: handler.register(function, event_name="ordered"))

    assert seen == [GIVEN]
    assert seen[0][1] is GIVEN[1]


def test_the_model_is_asked_for_by_registering_it() -> None:
    handler = LocalHandler()
    handler.register(Order, event_name="ordered")(ignoring_its_type)

    asyncio.run(handler.handle(Event("ordered", {"order_id": "7"})))

    assert seen == [Order(order_id=7)]


class Shop:
    def bound(self, event: Order) -> None:
        seen.append(event)

    @staticmethod
    def static(event: Order) -> None:
        seen.append(event)

    @classmethod
    def of_the_class(cls, event: Order) -> None:
        seen.append(event)

    def __call__(self, event: Order) -> None:
        seen.append(event)


@pytest.mark.parametrize(
    "function",
    [Shop().bound, Shop.static, Shop.of_the_class, Shop(), functools.partial(ignoring_its_type)],
    ids=["bound", "static", "class", "callable", "partial"],
)
def test_methods_and_callable_objects_get_the_pair(function: Callable[..., Any]) -> None:
    given_to(lambda handler: handler.register(function, event_name="ordered"))
    assert seen == [GIVEN]


def test_a_decorator_inside_of_a_class_body_gets_the_pair() -> None:
    handler = LocalHandler()

    class Listening:
        @staticmethod
        @handler.register(event_name="ordered")
        def outside(event: Order) -> None:
            seen.append(event)

        @handler.register(event_name="ordered")
        @staticmethod
        def inside(event: Order) -> None:
            seen.append(event)

    asyncio.run(handler.handle(Event(*GIVEN)))
    assert seen == [GIVEN, GIVEN]


@pytest.mark.parametrize(
    "mock",
    [
        Mock, MagicMock, AsyncMock,
        lambda: create_autospec(ignoring_its_type), lambda: create_autospec(asynchronous),
        lambda: Mock(spec=ignoring_its_type), lambda: MagicMock(spec=ignoring_its_type),
        lambda: create_autospec(Shop, instance=True).bound, lambda: Mock(wraps=ignoring_its_type),
    ],
    ids=[
        "Mock", "MagicMock", "AsyncMock", "autospec", "async", "spec", "MagicMock-spec", "method", "wraps",
    ],
)  # fmt: skip
def test_mocks_get_the_pair(mock: Callable[[], Mock]) -> None:
    function = mock()
    given_to(lambda handler: handler.register(function, event_name="ordered"))
    function.assert_called_once_with(GIVEN)


# Decorators


def with_kitchen(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(event: Any) -> None:
        function(event, "kitchen")

    return inner


def with_kitchen_by_name(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> None:
        function(*args, kitchen="kitchen", **kwargs)

    return inner


def with_async_kitchen(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def inner(event: Any, **kwargs: Any) -> None:
        await function(event, "kitchen", **kwargs)

    return inner


def passing_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def a_lamp() -> str:
    return "lamp"


@pytest.mark.parametrize("decorator", [with_kitchen, with_kitchen_by_name])
def test_a_decorator_fills_further_parameters_itself(decorator: Callable[..., Any]) -> None:
    @decorator
    def cook(event: Event, kitchen: str) -> None:
        seen.append((event, kitchen))

    given_to(lambda handler: handler.register(cook, event_name="ordered"))
    assert seen == [(GIVEN, "kitchen")]


def test_a_decorator_fills_one_parameter_and_passes_a_dependency_on() -> None:
    @with_async_kitchen
    async def cook(event: Event, kitchen: str, lamp: str = Depends(a_lamp)) -> None:
        seen.append((event, kitchen, lamp))

    given_to(lambda handler: handler.register(cook, event_name="ordered"))
    assert seen == [(GIVEN, "kitchen", "lamp")]


def test_what_a_decorator_does_not_take_is_not_given_to_it() -> None:
    @with_kitchen
    def cook(event: Event, kitchen: str, lamp: str = Depends(a_lamp)) -> None:
        seen.append((event, kitchen))

    given_to(lambda handler: handler.register(cook, event_name="ordered"))
    assert seen == [(GIVEN, "kitchen")]


def test_a_decorator_that_passes_all_on_changes_nothing() -> None:
    @passing_on
    def cook(event: Event, lamp: str = Depends(a_lamp)) -> None:
        seen.append((event, lamp))

    given_to(lambda handler: handler.register(cook, event_name="ordered"))
    assert seen == [(GIVEN, "lamp")]


def test_a_marker_that_looks_like_depends_is_one() -> None:
    class Marker:
        def __init__(self, dependency: Callable[..., Any]) -> None:
            self.dependency = dependency
            self.use_cache = True

    def cook(event: Event, lamp: str = Marker(a_lamp)) -> None:  # type: ignore[assignment]
        seen.append((event, lamp))

    given_to(lambda handler: handler.register(cook, event_name="ordered"))
    assert seen == [(GIVEN, "lamp")]
