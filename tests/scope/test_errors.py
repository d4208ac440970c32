"""Which errors a scope raises: what is said explicitly wins over the test suite's default."""

from __future__ import annotations

from typing import Any

import pytest

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.scope import collect_events
from fastapi_events.scope.errors import raise_if_asked
from fastapi_events.testing import raise_errors
from tests.asgi import responding
from tests.recording import Failing


@pytest.mark.parametrize(
    ("said", "by_default", "raised"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_what_is_said_explicitly_wins(said: bool | None, by_default: bool, raised: bool) -> None:
    errors = []
    with raise_errors(by_default):
        try:
            with collect_events([Failing(ValueError("no"))], raise_errors=said):
                dispatch("hello")
        except ValueError as error:
            errors.append(error)
    assert len(errors) == raised


def test_of_several_errors_a_group_is_raised() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        raise_if_asked([ValueError(), KeyError()], True)
    assert [type(each) for each in raised.value.exceptions] == [ValueError, KeyError]


def test_unasked_only_what_stands_above_exception_is_raised() -> None:
    above = pytest.fail.Exception("no")
    with pytest.raises(pytest.fail.Exception) as raised:
        raise_if_asked([ValueError(), BaseExceptionGroup("", [KeyError(), above, SystemExit(1)])], False)
    assert raised.value is above
    raise_if_asked([ValueError(), SystemExit(1), KeyboardInterrupt()], False)


@pytest.mark.parametrize("wrong", ["yes", 1, 0])
def test_what_is_no_truth_value_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="raise_errors="):
        collect_events([], raise_errors=wrong)
    with pytest.raises(ConfigurationError, match="raise_errors="):
        EventHandlerASGIMiddleware(responding(), [], raise_errors=wrong)
