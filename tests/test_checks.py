"""Checks of settings: what is kept, and what an error says."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import pytest

from fastapi_events import checks
from fastapi_events.errors import ConfigurationError, InvalidSetting
from fastapi_events.retry import RetryPolicy

Colour = Literal["red", "green"]


@pytest.mark.parametrize(
    ("given", "kept"), [(0, 0.0), (2, 2.0), (0.5, 0.5), (timedelta(minutes=1), 60.0), (10**300, 1e300)]
)
def test_seconds_are_a_number_or_a_timedelta(given: Any, kept: float) -> None:
    found = checks.seconds("deadline", given)
    assert (found, type(found)) == (kept, float)
    assert checks.seconds_or_none("deadline", given) == kept


@pytest.mark.parametrize(
    "given",
    ["1s", "1", None, True, -1, -0.1, float("nan"), float("inf"), 10**400, timedelta(seconds=-1), [1]],
    ids=["1s", "1", "None", "True", "-1", "-0.1", "nan", "inf", "huge", "negative-timedelta", "list"],
)
def test_what_is_no_length_of_time_is_refused_with_the_forms_that_are_allowed(given: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"^deadline=.*: expected a number of seconds or a timedelta"):
        checks.seconds("deadline", given)


def test_none_is_a_length_of_time_only_where_it_means_something() -> None:
    assert checks.seconds_or_none("deadline", None) is None


def test_zero_is_refused_where_it_has_to_be_positive() -> None:
    with pytest.raises(InvalidSetting, match=r"^deadline=0: .* above 0 and finite\.$"):
        checks.seconds("deadline", 0, positive=True)


@pytest.mark.parametrize(
    ("check", "good", "bad", "says"),
    [
        (lambda each: checks.whole("n", each, least=1), 1, 0, "n=0: expected a whole number, 1 or more."),
        (lambda each: checks.whole("n", each, least=1), 9, True, "n=True: expected a whole number"),
        (lambda each: checks.whole("n", each, least=1), 9, 1.5, "n=1.5: expected a whole number, 1 or more."),
        (lambda each: checks.flag("on", each), False, 1, "on=1: expected True or False."),
        (
            lambda each: checks.text("queue", each, such_as="shop"), "mail", "",
            "queue='': expected a text that is not empty, such as 'shop'.",
        ),
        (
            lambda each: checks.text("queue", each, such_as="shop"), "käse brot", " ",
            "queue=' ': expected a text that is not empty, such as 'shop'.",
        ),
        (
            lambda each: checks.text("queue", each, such_as="shop"), "a b", "a\nb",
            "queue='a\\nb': expected a text without control characters, such as 'shop'.",
        ),
        (
            lambda each: checks.text("queue", each, such_as="shop"), "mail", 5,
            "queue=5: expected a text that is not empty, such as 'shop'.",
        ),
        (
            lambda each: checks.instance("retry", each, RetryPolicy, such_as="RetryPolicy(max_retries=3)"),
            RetryPolicy(), 3, "retry=3: expected a RetryPolicy, such as RetryPolicy(max_retries=3).",
        ),
        (lambda each: checks.callable_or_none("f", each), print, 3, "f=3: expected a function."),
    ],
    ids=["range", "bool", "float", "flag", "empty", "blank", "control", "no-text", "instance", "callable"],
)  # fmt: skip
def test_a_value_is_kept_or_refused_with_what_is_expected(
    check: Callable[[Any], Any], good: Any, bad: Any, says: str
) -> None:
    assert check(good) is good
    with pytest.raises(InvalidSetting) as refused:
        check(bad)
    assert str(refused.value).startswith(says)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("gren", "colour='gren': expected 'red' or 'green'; did you mean 'green'?"),
        ("blue", "colour='blue': expected 'red' or 'green'."),
        (3, "colour=3: expected 'red' or 'green'."),
    ],
)
def test_a_word_that_is_none_of_those_allowed_is_refused_with_a_guess(given: Any, says: str) -> None:
    checks.one_of("colour", "red", Colour)
    with pytest.raises(InvalidSetting) as refused:
        checks.one_of("colour", given, Colour)
    assert str(refused.value) == says


def test_an_unknown_name_is_refused_with_the_closest_that_there_is_or_all_of_them() -> None:
    checks.known_names(["queue"], {"queue", "retry"}, asking="Shop")
    with pytest.raises(InvalidSetting, match=r"^Shop: unknown setting 'quue'; did you mean 'queue'\?$"):
        checks.known_names(["quue"], {"queue", "retry"}, asking="Shop")
    with pytest.raises(InvalidSetting, match=r"^Shop: unknown option 'colour'; there are queue, retry\.$"):
        checks.known_names(["colour"], {"queue", "retry"}, asking="Shop", what="option")
    with pytest.raises(InvalidSetting, match=r"^Shop: unknown setting 'colour'; look it up\.$"):
        checks.known_names(["colour"], {"queue"}, asking="Shop", otherwise="look it up.")


@checks.names_parameters
class Oven:
    def __init__(self, heat: int = 5, *, minutes: int = 3) -> None:
        self.heat, self.minutes = heat, minutes


class AnyOven(Oven):
    def __init__(self, *, lid: bool = False, **settings: int) -> None:
        super().__init__(**settings)
        self.lid = lid


def test_a_class_answers_an_unknown_parameter_with_the_one_that_was_meant() -> None:
    assert (Oven(1, minutes=2).heat, AnyOven(heat=2, lid=True).heat) == (1, 2)
    for make in (Oven, AnyOven):
        with pytest.raises(
            InvalidSetting, match=r"Oven: unknown parameter 'minute'; did you mean 'minutes'\?"
        ):
            make(minute=3)
    assert str(inspect.signature(Oven)) == "(heat: 'int' = 5, *, minutes: 'int' = 3) -> 'None'"


def test_a_key_is_one_that_a_dict_can_have() -> None:
    assert checks.key("middleware_id", 0) == 0
    with pytest.raises(InvalidSetting, match=r"middleware_id=\[\]: expected a number, or another value that"):
        checks.key("middleware_id", [])


def test_a_long_value_is_cut_in_the_error() -> None:
    with pytest.raises(InvalidSetting) as refused:
        checks.whole("n", "x" * 1_000, least=1)
    assert len(str(refused.value)) < 150


def test_what_refuses_a_setting_is_what_python_raises_for_an_argument_too() -> None:
    assert issubclass(InvalidSetting, (ConfigurationError, TypeError))
    assert issubclass(InvalidSetting, ValueError)


@pytest.mark.parametrize("given", [ValueError, (ValueError,), [ValueError], {ValueError}])
def test_classes_of_errors_are_kept_as_a_tuple(given: Any) -> None:
    assert checks.error_classes("give_up_on", given) == (ValueError,)


@pytest.mark.parametrize("given", ["ValueError", int, (ValueError, 3), None, ValueError("an instance")])
def test_what_is_no_class_of_errors_is_refused(given: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"^give_up_on=.*: expected a class of errors"):
        checks.error_classes("give_up_on", given)


@pytest.mark.parametrize(("number", "expected"), [(0, "0 letters"), (1, "1 letter"), (2, "2 letters")])
def test_what_is_counted_agrees_with_its_number(number: int, expected: str) -> None:
    assert checks.counted(number, "letter") == expected
