"""The publishing thread: group commit, bounds, and its end."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections.abc import Iterator, Sequence

import pytest

from fastapi_events.errors import NotPublished
from fastapi_events.handlers.task_queue.publish.batching_thread import BatchingThread


class Gate:
    """A broker that answers when it is told to."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.sent: list[list[str]] = []
        self.threads: set[threading.Thread] = set()
        self.error: Exception | None = None

    def take_batch(self, items: Sequence[str]) -> None:
        self.threads.add(threading.current_thread())
        self.entered.set()
        assert self.open.wait(30)
        if self.error is not None:
            raise self.error
        self.sent.append(list(items))


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def publisher(gate: Gate, **limits: int) -> BatchingThread[str]:
    return BatchingThread(gate, name="test", **{"max_pending": 100, "max_batch": 10, **limits})


def test_what_waits_meanwhile_is_sent_together(gate: Gate) -> None:
    it = publisher(gate)
    first = it.submit("a", size=1)
    assert gate.entered.wait(10)
    rest = [it.submit(item, size=1) for item in "bcd"]
    gate.open.set()
    concurrent.futures.wait([first, *rest], 10)

    assert gate.sent == [["a"], ["b", "c", "d"]]
    assert it.shutdown(10) == []


def test_a_batch_is_bounded_but_nothing_is_too_big_to_go(gate: Gate) -> None:
    it = publisher(gate, max_batch=10)
    futures = [it.submit("a", size=1)]
    assert gate.entered.wait(10)
    futures += [it.submit(item, size=size) for item, size in [("b", 6), ("c", 6), ("d", 50), ("e", 1)]]
    gate.open.set()
    concurrent.futures.wait(futures, 10)

    assert gate.sent == [["a"], ["b"], ["c"], ["d"], ["e"]]
    it.shutdown(10)


def test_an_error_is_told_to_every_flush_of_the_batch(gate: Gate) -> None:
    it = publisher(gate)
    gate.error = ValueError("broker says no")
    gate.open.set()
    future = it.submit("a", size=1)
    with pytest.raises(ValueError, match="broker says no"):
        future.result(10)

    gate.error = None
    it.submit("b", size=1).result(10)
    assert gate.sent == [["b"]]
    it.shutdown(10)


def test_a_full_buffer_refuses_and_recovers(gate: Gate) -> None:
    it = publisher(gate, max_pending=5)
    it.submit("in the thread", size=1)
    assert gate.entered.wait(10)
    waiting = it.submit("fills it", size=5)
    with pytest.raises(NotPublished, match="5 events wait"):
        it.submit("too much", size=1)

    assert waiting.cancel()  # its flush has given up; its room is free again
    last = it.submit("fits", size=1)
    gate.open.set()
    last.result(10)
    assert gate.sent == [["in the thread"], ["fits"]]
    it.shutdown(10)


def test_what_was_cancelled_is_never_sent(gate: Gate) -> None:
    it = publisher(gate)
    first = it.submit("a", size=1)
    assert gate.entered.wait(10)
    second = it.submit("b", size=1)
    assert not first.cancel()  # too late: it is on its way
    assert second.cancel()
    gate.open.set()
    assert it.shutdown(10) == []
    assert gate.sent == [["a"]]


def test_shutdown_sends_what_waits_and_ends_the_thread(gate: Gate) -> None:
    it = publisher(gate)
    futures = [it.submit(item, size=1) for item in "abc"]
    gate.open.set()

    assert it.shutdown(10) == []
    assert all(future.done() for future in futures)
    assert not any(thread.is_alive() for thread in gate.threads)


def test_shutdown_returns_what_could_not_be_sent_in_time(gate: Gate) -> None:
    it = publisher(gate)
    stuck = it.submit("a", size=1)
    assert gate.entered.wait(10)
    waiting = it.submit("b", size=1)

    assert it.shutdown(0.01) == ["b"]
    with pytest.raises(NotPublished, match="process stopped"):
        waiting.result(0)
    gate.open.set()
    stuck.result(10)


def test_a_publisher_can_be_used_again_after_its_shutdown(gate: Gate) -> None:
    it = publisher(gate)
    gate.open.set()
    it.submit("a", size=1).result(10)
    it.shutdown(10)
    it.submit("b", size=1).result(10)
    it.shutdown(10)

    assert gate.sent == [["a"], ["b"]]
    assert len(gate.threads) == 2


@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)  # that is the point
def test_a_forked_child_publishes_its_own_items_and_none_of_its_parents(gate: Gate) -> None:
    it = publisher(gate)
    it.submit("parent", size=1)
    assert gate.entered.wait(10)
    it.submit("parent, waiting", size=1)
    reading, writing = os.pipe()

    child = os.fork()
    if child == 0:
        try:
            gate.open.set()
            it.submit("child", size=1).result(10)
            os.write(writing, repr(gate.sent).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)

    assert os.read(reading, 1000) == b"[['child']]"
    gate.open.set()
    it.shutdown(10)


def test_one_item_that_is_refused_does_not_cost_its_neighbours(gate: Gate) -> None:
    send = gate.take_batch

    def picky(items: Sequence[str]) -> None:
        send(items)
        if "poison" in items:
            gate.sent.pop()
            raise ValueError("too large")

    gate.take_batch = picky  # type: ignore[method-assign]
    it = publisher(gate)
    first = it.submit("a", size=1)
    assert gate.entered.wait(10)
    poison, *rest = [it.submit(item, size=1) for item in ("poison", "b", "c")]
    gate.open.set()
    concurrent.futures.wait([first, poison, *rest], 10)

    assert isinstance(poison.exception(), ValueError)
    assert [each.exception() for each in rest] == [None, None]
    assert gate.sent == [["a"], ["b"], ["c"]]
    it.shutdown(10)


def test_a_broker_that_is_away_is_not_asked_for_each(gate: Gate) -> None:
    gate.error = ConnectionError("away")
    asked: list[int] = []
    send = gate.take_batch

    def counting(items: Sequence[str]) -> None:
        asked.append(len(items))
        send(items)

    gate.take_batch = counting  # type: ignore[method-assign]
    it = publisher(gate)
    first = it.submit("a", size=1)
    assert gate.entered.wait(10)
    rest = [it.submit(str(number), size=1) for number in range(9)]
    gate.open.set()
    concurrent.futures.wait([first, *rest], 10)

    assert asked == [1, 9, 1, 1]
    assert {str(each.exception()) for each in rest} == {"away"}
    assert len({id(each.exception()) for each in rest[2:]}) == 7, "each who waits raises one of its own"
    it.shutdown(10)
