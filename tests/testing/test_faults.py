"""Faults last as long as their blocks."""

from __future__ import annotations

import pytest

from fastapi_events.errors import InvalidSetting, NotPublished
from fastapi_events.testing.faults import BrokerAway, Faults, checked_error


def cook() -> str:
    return "cooked"


def test_a_function_fails_so_often_and_not_after_the_block() -> None:
    faults = Faults()
    around = faults.around(cook, is_async=False)
    with faults.fail([cook], KeyError("gas"), 1):
        with pytest.raises(KeyError):
            around()
        assert around() == "cooked"
    with faults.fail([cook], KeyError, None), pytest.raises(KeyError):
        around()
    assert around() == "cooked"


def test_what_was_asked_for_is_known() -> None:
    faults = Faults()
    with faults.fail([cook], KeyError, None), pytest.raises(KeyError) as raised:
        faults.around(cook, is_async=False)()
    assert faults.is_wanted(raised.value)
    assert faults.is_wanted(ExceptionGroup("", [raised.value]))
    assert not faults.is_wanted(KeyError("another"))
    assert not faults.is_wanted(NotPublished("the broker is away"))
    with faults.keep_away(None):
        assert faults.is_wanted(NotPublished("the broker is away"))


def test_a_broker_is_away_for_one_handler_or_for_all() -> None:
    faults, handler, other = Faults(), object(), object()
    with faults.keep_away(handler):
        assert (faults.is_away(handler), faults.is_away(other)) == (True, False)
        with faults.keep_away(None):
            assert faults.is_away(other)
    assert not faults.is_away(handler)


def test_a_crash_is_asked_for_once_and_forgotten_with_its_block() -> None:
    faults = Faults()
    with faults.crash("run", 1):
        assert not faults.crashes_after("publish")
        assert faults.crashes_after("run")
        assert not faults.crashes_after("run")
    with faults.crash("run", 2):
        pass
    assert not faults.crashes_after("run")


def test_an_error_is_an_instance_or_a_class_that_takes_a_text() -> None:
    assert checked_error(BrokerAway) is BrokerAway
    for wrong in ("TimeoutError", 3, int, UnicodeDecodeError):
        with pytest.raises(InvalidSetting):
            checked_error(wrong)  # type: ignore[arg-type]
