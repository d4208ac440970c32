"""Calls of several threads that one of them makes for all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from fastapi_events.combined_calls import CombinedCalls, another_like
from tests.processes import until

_PATIENCE = 30.0


class Slow:
    """What is called; each call waits until it is let go."""

    def __init__(self, fails: Callable[[Sequence[int]], bool] = lambda _: False) -> None:
        self.groups: list[list[int]] = []
        self.let_go = threading.Semaphore(0)
        self.is_in = threading.Semaphore(0)
        self._fails = fails

    def together(self, numbers: Sequence[int]) -> Sequence[int]:
        self.groups.append(list(numbers))
        self.is_in.release()
        assert self.let_go.acquire(timeout=_PATIENCE)
        if self._fails(numbers):
            raise ValueError(f"not {numbers}")
        return [10 * each for each in numbers]

    def alone(self, number: int) -> int:
        return self.together([number])[0]


def _all_wait(combined: CombinedCalls[int, int], count: int) -> None:
    until(lambda: len(combined._line.get()._waiting) >= count, f"{count} wait")


def _called(
    combined: CombinedCalls[int, int], slow: Slow, pool: ThreadPoolExecutor, numbers: Sequence[int]
) -> list[Future[int]]:
    """Begin calls: the first is being made, the others wait in this order."""
    futures = [pool.submit(combined, numbers[0])]
    assert slow.is_in.acquire(timeout=_PATIENCE)
    for count, number in enumerate(numbers[1:], 1):
        futures.append(pool.submit(combined, number))
        _all_wait(combined, count)
    return futures


def test_what_comes_while_one_calls_is_called_together() -> None:
    slow = Slow()
    combined = CombinedCalls(slow.together)
    with ThreadPoolExecutor(4) as pool:
        futures = _called(combined, slow, pool, [1, 2, 3, 4])
        slow.let_go.release(2)

        assert [each.result(_PATIENCE) for each in futures] == [10, 20, 30, 40]
    assert slow.groups == [[1], [2, 3, 4]]


def test_who_is_alone_waits_for_nobody() -> None:
    slow = Slow()
    combined = CombinedCalls(slow.together, alone=slow.alone)
    slow.let_go.release(2)

    assert [combined(1), combined(2)] == [10, 20]
    assert slow.groups == [[1], [2]]


def test_a_group_is_no_larger_than_it_may_be() -> None:
    slow = Slow()
    combined = CombinedCalls(slow.together, size=lambda number: number, max_size=5)
    with ThreadPoolExecutor(5) as pool:
        futures = _called(combined, slow, pool, [9, 2, 3, 1, 7])
        slow.let_go.release(4)

        assert [each.result(_PATIENCE) for each in futures] == [90, 20, 30, 10, 70]
    assert slow.groups == [[9], [2, 3], [1], [7]]


def test_when_a_group_fails_each_calls_alone_and_learns_what_becomes_of_its_own() -> None:
    slow = Slow(fails=lambda numbers: 3 in numbers)
    combined = CombinedCalls(slow.together, alone=slow.alone)
    with ThreadPoolExecutor(3) as pool:
        futures = _called(combined, slow, pool, [1, 2, 3])
        slow.let_go.release(4)

        assert futures[1].result(_PATIENCE) == 20
        with pytest.raises(ValueError, match=r"not \[3\]"):
            futures[2].result(_PATIENCE)
    assert slow.groups[:2] == [[1], [2, 3]]
    assert sorted(slow.groups[2:]) == [[2], [3]]


def test_when_nobody_may_call_alone_all_of_a_group_fail() -> None:
    slow = Slow(fails=lambda numbers: 3 in numbers)
    combined = CombinedCalls(slow.together)
    with ThreadPoolExecutor(3) as pool:
        futures = _called(combined, slow, pool, [1, 2, 3])
        slow.let_go.release(2)

        for each in futures[1:]:
            with pytest.raises(ValueError, match="not"):
                each.result(_PATIENCE)
        slow.let_go.release()
        assert combined(4) == 40, "the next one is called as before"


def test_the_error_of_a_group_is_raised_as_one_of_its_own_in_each_thread() -> None:
    slow = Slow(fails=lambda numbers: len(numbers) > 1)
    combined = CombinedCalls(slow.together)
    with ThreadPoolExecutor(3) as pool:
        futures = _called(combined, slow, pool, [1, 2, 3])
        slow.let_go.release(2)
        one, other = (each.exception(_PATIENCE) for each in futures[1:])

    assert isinstance(one, ValueError)
    assert isinstance(other, ValueError)
    assert one is not other
    assert str(one) == str(other) == "not [2, 3]"
    assert one.__cause__ is other.__cause__  # where it was raised
    assert one.__traceback__ is not other.__traceback__


class Demanding(Exception):
    """Cannot be made from the arguments that it keeps."""

    def __init__(self, *, number: int) -> None:
        super().__init__(f"number {number}")


def test_an_error_that_cannot_be_copied_is_raised_as_it_is() -> None:
    slow = Slow()

    def together(numbers: Sequence[int]) -> Sequence[int]:
        if len(numbers) > 1:
            raise Demanding(number=len(numbers))
        return slow.together(numbers)

    combined = CombinedCalls(together)
    with ThreadPoolExecutor(3) as pool:
        futures = _called(combined, slow, pool, [1, 2, 3])
        slow.let_go.release(1)

        for each in futures[1:]:
            with pytest.raises(Demanding, match="number 2"):
                each.result(_PATIENCE)


class Wordy(Exception):
    """Would say more of itself each time it is made."""

    def __init__(self, what: str) -> None:
        super().__init__(f"no {what}")


def test_another_error_is_of_the_same_kind_and_words_or_there_is_none() -> None:
    error = OSError(2, "no such file")

    another = another_like(error)

    assert isinstance(another, FileNotFoundError)
    assert another is not error
    assert another.errno == 2
    assert another_like(Demanding(number=1)) is None
    assert another_like(Wordy("fish")) is None


class Interrupted(BaseException):
    """Raised in the thread that calls for others."""


def test_when_the_thread_that_calls_for_all_is_interrupted_the_others_go_on() -> None:
    slow = Slow()

    def together(numbers: Sequence[int]) -> Sequence[int]:
        if len(numbers) > 1:
            raise Interrupted
        return slow.together(numbers)

    combined = CombinedCalls(together)
    with ThreadPoolExecutor(3) as pool:
        futures = _called(combined, slow, pool, [1, 2, 3])
        slow.let_go.release(2)

        with pytest.raises(Interrupted):
            futures[1].result(_PATIENCE)
        assert futures[2].result(_PATIENCE) == 30
