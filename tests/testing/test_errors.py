"""For test suites: errors of handlers are raised for the length of a block."""

from __future__ import annotations

import pytest

from fastapi_events.dispatcher import dispatch
from fastapi_events.scope import collect_events
from fastapi_events.testing import raise_errors
from tests.recording import Failing


def dispatch_one() -> None:
    with collect_events([Failing(ValueError("no fish"))]):
        dispatch("hello")


def test_inside_of_the_block_what_a_handler_raises_is_raised() -> None:
    with raise_errors(), pytest.raises(ValueError, match="no fish"):
        dispatch_one()


def test_after_it_things_are_as_before() -> None:
    with raise_errors():
        pass
    dispatch_one()


def test_a_block_inside_of_another_may_turn_it_off() -> None:
    with raise_errors():
        with raise_errors(False):
            dispatch_one()
        with pytest.raises(ValueError, match="no fish"):
            dispatch_one()
