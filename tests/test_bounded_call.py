"""Calls in a thread of their own: one at a time, whoever asks, and nobody waits longer than it wants."""

from __future__ import annotations

import asyncio
import threading

from fastapi_events.bounded_call import BoundedCall, made_at_once


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


def test_who_has_begun_a_call_gets_its_answer_however_late_and_others_a_new_one() -> None:
    made: list[int] = []
    call = BoundedCall(lambda: made.append(1) or len(made), good_for=0.0)

    begun = call.begin()
    first = begun.result(30)
    again = call.wait(timeout=30)

    assert begun.result(0) is first
    assert again is not None
    assert (first.value, again.value) == (1, 2)


def test_calls_are_made_at_the_same_time_and_answered_in_their_order() -> None:
    met = threading.Barrier(3, timeout=30)

    def call(number: int) -> int:
        met.wait()
        return number

    assert made_at_once([lambda number=number: call(number) for number in range(3)]) == [0, 1, 2]
    assert made_at_once([]) == []
