"""A thread between start and stop, of which each process has its own."""

from __future__ import annotations

import os
import threading

import pytest

from fastapi_events.background_thread import BackgroundThread


class Work:
    """Counts the threads that work; each goes on until it has to return."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.threads: list[threading.Thread] = []

    def __call__(self, stopping: threading.Event) -> None:
        self.threads.append(threading.current_thread())
        self.began.release()
        stopping.wait()


def test_it_works_from_start_to_stop_and_once_more() -> None:
    work = Work()
    thread = BackgroundThread(work, name="work")
    assert not thread.is_started

    for _ in range(2):
        thread.start()
        thread.start()
        assert thread.is_started
        assert work.began.acquire(timeout=10)
        thread.stop(10)
        assert not thread.is_started

    assert [each.name for each in work.threads] == ["work", "work"]
    assert not any(each.is_alive() for each in work.threads)


def test_to_stop_what_has_not_begun_does_nothing() -> None:
    BackgroundThread(Work(), name="work").stop(10)


@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)  # that is the point
def test_a_forked_child_has_none_until_it_starts_its_own() -> None:
    work = Work()
    thread = BackgroundThread(work, name="work")
    thread.start()
    assert work.began.acquire(timeout=10)

    child = os.fork()
    if child == 0:
        good = False
        try:
            before = thread.is_started
            thread.start()
            good = not before and work.began.acquire(timeout=10)
        finally:
            os._exit(0 if good else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    thread.stop(10)
