"""Calls in a thread of their own: one at a time, whoever asks, and nobody waits longer than it wants."""

from __future__ import annotations

import asyncio
import threading

from fastapi_events.bounded_call import BoundedCall


def test_whoever_asks_gets_what_the_call_returned_or_raised() -> None:
    good = BoundedCall(lambda: 42)
    bad = BoundedCall(lambda: int("none"))

    answer = good.wait(timeout=30)
    assert answer is not None
    assert (answer.value, answer.error) == (42, None)
    on_loop = asyncio.run(bad.answer(timeout=30))
    assert on_loop is not None
    assert isinstance(on_loop.error, ValueError)


def test_a_call_that_hangs_is_made_once_and_waited_for_no_longer_than_asked() -> None:
    made: list[int] = []
    go_on = threading.Event()

    def hang() -> str:
        made.append(1)
        go_on.wait(30)
        return "done"

    call = BoundedCall(hang)

    assert call.wait(timeout=0.01) is None
    assert asyncio.run(call.answer(timeout=0.01)) is None
    go_on.set()
    answer = call.wait(timeout=30)
    assert answer is not None
    assert answer.value == "done"
    assert made == [1]


def test_an_answer_is_good_for_a_while() -> None:
    made: list[int] = []
    lasting = BoundedCall(lambda: made.append(1), good_for=60.0)
    fleeting = BoundedCall(lambda: made.append(2), good_for=0.0)

    for _ in range(2):
        assert lasting.wait(timeout=30) is not None
        assert fleeting.wait(timeout=30) is not None

    assert sorted(made) == [1, 2, 2]
