"""What a process makes for itself: once, at its first use, and anew in a forked child."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastapi_events.per_process import PerProcess

# To fork a process with threads is the point.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Value:
    """Says that it was collected."""

    def __init__(self) -> None:
        self.collected: list[int] = collected

    def __del__(self) -> None:
        self.collected.append(os.getpid())


collected: list[int] = []


def in_child(holds: Callable[[], bool]) -> bool:
    """Whether something holds in a forked child."""
    child = os.fork()
    if child == 0:
        good = False
        try:
            good = holds()
        finally:
            os._exit(0 if good else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_it_is_made_at_the_first_use_and_once() -> None:
    made: list[int] = []
    number = PerProcess(lambda: made.append(1) or len(made))

    assert number.made is None
    assert made == []
    assert (number.get(), number.get(), number.made) == (1, 1, 1)


def test_threads_that_come_at_once_get_the_same() -> None:
    together = threading.Barrier(8)
    value = PerProcess(object)

    def ask(_: int) -> object:
        together.wait(10)
        return value.get()

    with ThreadPoolExecutor(8) as pool:
        assert len({id(each) for each in pool.map(ask, range(8))}) == 1


def test_a_forked_child_makes_its_own() -> None:
    value = PerProcess(object)
    parents = value.get()

    assert in_child(lambda: value.made is None and value.get() is not parents and value.get() is value.made)
    assert value.get() is parents


def test_a_forked_child_leaves_what_its_parent_made_alone() -> None:
    value = PerProcess(Value)
    value.get()

    assert in_child(lambda: value.get() is not None and collected == [])


def test_a_child_that_is_forked_while_another_thread_makes_it_does_not_wait_for_that_thread() -> None:
    begun, end = threading.Event(), threading.Event()
    parent = os.getpid()

    def make() -> int:
        if os.getpid() == parent:
            begun.set()
            assert end.wait(30)
        return os.getpid()

    value = PerProcess(make)
    thread = threading.Thread(target=value.get)
    thread.start()
    assert begun.wait(10)

    assert in_child(lambda: value.get() == os.getpid())

    end.set()
    thread.join(10)
    assert value.get() == parent


def test_one_that_cannot_be_made_is_tried_again() -> None:
    failures = [OSError("no room")]

    def make() -> str:
        if failures:
            raise failures.pop()
        return "made"

    value = PerProcess(make)
    with pytest.raises(OSError, match="no room"):
        value.get()

    assert value.get() == "made"


def test_what_is_taken_is_made_once_more() -> None:
    value = PerProcess(object)
    first = value.get()

    assert value.take() is first
    assert value.made is None
    assert value.take() is None
    assert value.get() is not first


def test_a_child_cannot_take_what_its_parent_has() -> None:
    value = PerProcess(object)
    value.get()

    assert in_child(lambda: value.take() is None)


def test_a_value_that_is_there_already_can_be_set() -> None:
    value: PerProcess[str] = PerProcess(lambda: "made")
    value.set("given")

    assert value.get() == "given"
    assert in_child(lambda: value.get() == "made")
