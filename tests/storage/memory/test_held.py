"""What one token at a time may hold."""

from __future__ import annotations

from fastapi_events.storage.base import CLOCK_SLACK_SECONDS
from fastapi_events.storage.memory.held import Held


def test_nothing_is_held_at_first() -> None:
    held = Held()

    assert not held.is_held(0.0)
    assert held.busy(0.0).seconds == 0.0


def test_it_is_held_for_its_time_and_by_its_token() -> None:
    held = Held()
    held.take("a", 100.0, 10.0)

    assert held.is_held(109.9)
    assert held.is_held_by_another("b", 109.9)
    assert not held.is_held_by_another("a", 109.9)
    assert held.busy(104.0).seconds == 6.0
    assert not held.is_held(110.0)
    assert not held.is_held_by_another("b", 110.0)


def test_what_was_let_go_is_nobodys() -> None:
    held = Held()
    held.take("a", 100.0, 10.0)

    held.let_go()

    assert (held.token, held.is_held(101.0)) == (None, False)


def test_a_clock_that_was_set_back_ends_it() -> None:
    held = Held()
    held.take("a", 100.0, 10.0)

    assert held.is_held(100.0 - CLOCK_SLACK_SECONDS)
    assert not held.is_held(99.0 - CLOCK_SLACK_SECONDS)
