"""Batches of what several threads have in hand."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fastapi_events.subscriptions.batcher import Batcher
from tests.processes import until

FOREVER = 60.0


class Log:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def run(self, items: Sequence[int]) -> list[Exception | None]:
        self.batches.append(list(items))
        return [ValueError(str(item)) if item < 0 else None for item in items]


def test_what_threads_bring_runs_together_once_it_is_enough() -> None:
    log = Log()
    batcher = Batcher(log.run, size=4, window=FOREVER)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: batcher.submit([number]), range(4)))

    assert [sorted(batch) for batch in log.batches] == [[0, 1, 2, 3]]
    assert answers == [[None]] * 4


def test_nobody_waits_longer_than_the_window() -> None:
    log = Log()

    assert Batcher(log.run, size=100, window=0.01).submit([1, 2]) == [None, None]
    assert log.batches == [[1, 2]]


def test_each_thread_gets_the_errors_of_its_own_items() -> None:
    log = Log()
    batcher = Batcher(log.run, size=4, window=FOREVER)

    with ThreadPoolExecutor(2) as pool:
        good = pool.submit(batcher.submit, [1, 2])
        bad = pool.submit(batcher.submit, [-3, 4])

    assert good.result() == [None, None]
    first, second = bad.result()
    assert (str(first), second) == ("-3", None)


def test_one_thread_may_bring_more_than_a_batch() -> None:
    log = Log()

    assert Batcher(log.run, size=2, window=0.0).submit([1, 2, 3]) == [None, None, None]
    assert log.batches == [[1, 2], [3]]


def test_when_the_batch_is_interrupted_nobody_waits_for_ever() -> None:
    both = threading.Barrier(2)

    class Interrupted(BaseException):
        pass

    def run(items: Sequence[int]) -> list[Exception | None]:
        raise Interrupted

    batcher = Batcher(run, size=2, window=FOREVER)
    outcomes: list[object] = []

    def work(number: int) -> None:
        both.wait(10)
        try:
            outcomes.append(batcher.submit([number])[0])
        except Interrupted as raised:
            outcomes.append(raised)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Interrupted", "RuntimeError"]


def test_the_window_is_not_waited_out_when_the_batch_is_full() -> None:
    log = Log()
    batcher = Batcher(log.run, size=1, window=FOREVER)

    assert batcher.submit([1]) == [None]
    assert batcher.submit([2]) == [None]
    assert log.batches == [[1], [2]]


def test_when_the_leader_is_interrupted_while_it_waits_for_others_nobody_waits_for_ever() -> None:
    # Given a thread that waits for enough items, and another that waits for it
    class Interrupted(BaseException):
        pass

    log = Log()
    batcher = Batcher(log.run, size=3, window=FOREVER)
    interrupted: list[BaseException] = []

    def lead() -> None:
        try:
            batcher.submit([1])
        except Interrupted as raised:
            interrupted.append(raised)

    leader = threading.Thread(target=lead)
    leader.start()
    waiting = batcher._waiting.get()
    until(lambda: len(waiting.shares) == 1, "the leader waits")
    with ThreadPoolExecutor(4) as pool:
        follower = pool.submit(batcher.submit, [2])
        until(lambda: len(waiting.shares) == 2, "the follower waits")

        # When the first reaches its time limit, which it notices as soon as it runs Python code
        interrupt = ctypes.py_object(Interrupted)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(leader.ident or 0), interrupt)
        with waiting.changed:
            waiting.changed.notify_all()

        # Then the second is told, and the next ones are a batch as ever
        [error] = follower.result(30)
        assert str(error) == "The batch was interrupted: Interrupted()"
        leader.join(30)
        assert len(interrupted) == 1
        assert list(pool.map(lambda number: batcher.submit([number]), (3, 4, 5))) == [[None]] * 3
    assert [sorted(batch) for batch in log.batches] == [[3, 4, 5]]
