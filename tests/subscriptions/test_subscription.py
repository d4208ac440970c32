"""Subscriptions: found by the names of events, each once and in order; and the forms of `register`."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any, TypedDict

import pytest
from pydantic import BaseModel

from fastapi_events.errors import ConfigurationError, MissingEventNameDuringRegistration
from fastapi_events.event import Event
from fastapi_events.subscriptions.plan import plan
from fastapi_events.subscriptions.subscription import (
    Registration,
    Subscription,
    Subscriptions,
    name_of,
    registration,
)


class Animal(Enum):
    CAT = "cat"
    SEVEN = 7


def function(event: Event) -> None: ...


def listens(name: str, *patterns: str) -> Subscription:
    return Subscription(name, patterns, function, plan(function))


@pytest.fixture
def subscriptions() -> Subscriptions:
    return Subscriptions()


def found(subscriptions: Subscriptions, name: Any) -> list[str]:
    return [each.name for each in subscriptions.match(name)]


# The collection


def test_who_listens_is_found_in_order_of_registration(subscriptions: Subscriptions) -> None:
    for name, pattern in [("z", "cat"), ("a", "*"), ("other", "dog"), ("m", "c?t")]:
        subscriptions.add(listens(name, pattern))

    assert found(subscriptions, "cat") == ["z", "a", "m"]
    assert [each.name for each in subscriptions] == ["z", "a", "other", "m"]
    assert len(subscriptions) == 4


def test_nobody_is_nobody(subscriptions: Subscriptions) -> None:
    subscriptions.add(listens("a", "dog"))

    assert list(subscriptions.match("cat")) == []
    assert subscriptions.named("cat") is None


def test_who_listens_by_several_patterns_is_found_once(subscriptions: Subscriptions) -> None:
    subscriptions.add(listens("one", "cat", "c*"))
    subscriptions.add(listens("two", "cat"))

    assert found(subscriptions, "cat") == ["one", "two"]
    assert found(subscriptions, "cow") == ["one"]


def test_who_listens_to_more_later_is_found_once_and_by_each(subscriptions: Subscriptions) -> None:
    one = listens("one", "cat")
    subscriptions.add(one)
    subscriptions.add_patterns(one, ("cat", "c*", "dog"))

    assert one.patterns == ("cat", "c*", "dog")
    assert one.pattern == "cat"
    assert [found(subscriptions, name) for name in ("cat", "cow", "dog")] == [["one"]] * 3


def test_an_enum_member_is_found_by_both_its_spellings_and_once(subscriptions: Subscriptions) -> None:
    subscriptions.add(listens("value", "cat"))
    subscriptions.add(listens("spelled", "Animal.CAT"))
    subscriptions.add(listens("both", "cat", "Animal.CAT"))
    subscriptions.add(listens("seven", "Animal.SEVEN"))

    assert found(subscriptions, Animal.CAT) == ["value", "spelled", "both"]
    assert found(subscriptions, "cat") == ["value", "both"]
    assert found(subscriptions, Animal.SEVEN) == ["seven"]


def test_a_subscription_is_found_by_its_name(subscriptions: Subscriptions) -> None:
    one, two = listens("one", "*"), listens("two", "*")
    subscriptions.add(one)
    subscriptions.add(two)

    assert subscriptions.named("two") is two


def test_what_is_replaced_is_forgotten(subscriptions: Subscriptions) -> None:
    subscriptions.add(listens("old", "cat", "c*"))
    new = listens("new", "dog")

    subscriptions.replace([new])

    assert found(subscriptions, "cat") == []
    assert found(subscriptions, "dog") == ["new"]
    assert list(subscriptions) == [new]


def test_two_subscriptions_are_two_though_they_look_alike() -> None:
    one, other = listens("same", "cat"), listens("same", "cat")

    assert one != other
    assert len({one, other}) == 2


# The forms of `register`


class Fish(BaseModel):
    __event_name__ = "fish"


class Nameless(BaseModel): ...


@dataclasses.dataclass
class Bird:
    __event_name__ = Animal.CAT


class Typed(TypedDict):
    n: int


class NamedOnly:
    __event_name__ = "named"


class CallMe:
    def __call__(self, event: Event) -> None: ...


def label(value: Any) -> str:
    """What a parameter is called in the id of a test: without the addresses that functions print."""
    return "" if isinstance(value, Registration) else getattr(value, "__name__", str(value))


@pytest.mark.parametrize(
    ("target", "event_name", "expected"),
    [
        (None, "*", Registration(None, None, ("*",))),
        (None, "cat*", Registration(None, None, ("cat*",))),
        (None, Animal.CAT, Registration(None, None, ("cat", "Animal.CAT"))),
        (function, "*", Registration(function, None, ("*",))),
        (function, "cat", Registration(function, None, ("cat",))),
        (Fish, "*", Registration(None, Fish, ("fish",))),
        (Fish, "other", Registration(None, Fish, ("other",))),
        (Nameless, "cat", Registration(None, Nameless, ("cat",))),
        (Bird, "*", Registration(None, Bird, ("cat", "Animal.CAT"))),
        (Typed, "cat", Registration(None, Typed, ("cat",))),
        (CallMe, "*", Registration(CallMe, None, ("*",))),
    ],
    ids=label,
)
def test_the_forms_of_register_are_told_apart(target: Any, event_name: Any, expected: Registration) -> None:
    assert registration(target, event_name) == expected


@pytest.mark.parametrize(
    ("target", "event_name", "said"),
    [
        ("cat", "*", r"write register\(event_name='cat'\)"),
        (Animal.CAT, "*", "write register"),
        (7, "*", "expected a function or a model"),
        (None, 7, "expected a string or an Enum member"),
        (function, None, "expected a string or an Enum member"),
        (NamedOnly, "*", "expected a pydantic model, a dataclass or a TypedDict"),
        (NamedOnly, "cat", "expected a pydantic model, a dataclass or a TypedDict"),
    ],
    ids=label,
)
def test_what_is_none_of_them_is_refused(target: Any, event_name: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        registration(target, event_name)


@pytest.mark.parametrize("target", [Nameless, Typed])
def test_a_model_without_a_name_is_refused(target: Any) -> None:
    with pytest.raises(MissingEventNameDuringRegistration):
        registration(target, "*")


def test_a_function_goes_by_its_module_and_qualified_name() -> None:
    def inner(event: Event) -> None: ...

    assert name_of(function) == f"{__name__}.function"
    assert name_of(inner).endswith("qualified_name.<locals>.inner")
