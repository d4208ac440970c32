"""Time limits in the pools that have none of their own, and hard ones that count as a failure."""

from __future__ import annotations

import ctypes
import heapq
import itertools
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded

from fastapi_events.per_process import PerProcess

TIME_LIMIT = "fastapi_events_time_limit"
"""The attribute of our tasks that says when they are interrupted; `time_limit` says when Celery kills."""

_Limits: TypeAlias = tuple[float | None, float | None]

KILL_GRACE_SECONDS = 5.0
"""How long after its time limit the prefork pool kills the process of a function that nothing interrupts."""


class Limits:
    """Interrupts tasks that take longer than they may.

    Celery enforces time limits in its prefork pool only. There, too, a hard one kills the process with all
    that it holds; so we interrupt the function first, which then fails like any other, and leave the kill to
    those that do not notice.
    """

    def __init__(self) -> None:
        self._worker: Any = lambda: None
        self._of_app: _Limits | None = None
        """The app's, as they are when the worker starts: to ask its settings takes long."""
        self._worker_pid = os.getpid()
        self._watchdog = PerProcess(Watchdog)

    def start(self, worker: Any) -> None:
        """A worker starts in this process."""
        self._worker = weakref.ref(worker)
        self._worker_pid = os.getpid()
        self._of_app = _limits_of_app(worker.app)

    @contextmanager
    def of(self, task: Task) -> Iterator[None]:
        """Interrupt what runs in this thread within the block, when the task's limits are reached."""
        hard, soft = getattr(task, TIME_LIMIT, None), None
        if os.getpid() == self._worker_pid:  # no child of the prefork pool, where Celery does the rest
            hard, soft = _limits_of(task, hard, self._of_app or _limits_of_app(task.app))
        if (hard is None and soft is None) or self._is_green():
            yield
            return
        watch = self._watchdog.get().watch(soft=soft, hard=hard)
        try:
            yield
        finally:
            watch.end()

    def _is_green(self) -> bool:
        # Greenlets share a thread: the one that runs at that moment would be interrupted.
        return bool(getattr(getattr(self._worker(), "pool_cls", None), "is_green", False))


class Watchdog:
    """One thread that raises errors in others, for all tasks of the process.

    A daemon that nobody ends: it serves the process until the process ends.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Watch]] = []
        self._numbers = itertools.count()
        threading.Thread(target=self._run, name="fastapi-events-limits", daemon=True).start()

    def watch(self, *, soft: float | None, hard: float | None) -> Watch:
        """Watch over the calling thread.

        Parameters:
            soft: Seconds until `SoftTimeLimitExceeded` is raised in it.
            hard: Seconds until it is raised once more, should that have been caught.
        """
        watch = Watch(threading.get_ident())
        now = time.monotonic()
        with self._changed:
            for seconds in (soft, hard):
                if seconds is not None:
                    heapq.heappush(self._due, (now + seconds, next(self._numbers), watch))
            self._changed.notify()
        return watch

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due or (wait := self._due[0][0] - time.monotonic()) > 0:
                    self._changed.wait(wait if self._due else None)
                _, _, watch = heapq.heappop(self._due)
            watch.interrupt()


class Watch:
    """The watch over one thread for the time of one task."""

    def __init__(self, thread: int) -> None:
        self._thread = thread
        self._lock = threading.Lock()
        self._ended = False
        self._interrupted = False

    def interrupt(self) -> None:
        """Raise an error in the thread as soon as it runs Python code, unless the task has ended.

        Celery's error of a hard limit would not do: it takes it for a process that it has killed, and sends
        the message back to the broker.
        """
        with self._lock:
            if not self._ended:
                self._interrupted = True
                _raise_in(self._thread, SoftTimeLimitExceeded)

    def end(self) -> None:
        """The task has ended: do not interrupt what the thread does next. Called in that thread."""
        try:
            self._end()
        except SoftTimeLimitExceeded:  # in this very moment
            self._end()
            raise

    def _end(self) -> None:
        with self._lock:
            self._ended = True
        if self._interrupted:
            _take_back(self._thread)


class _TakenBack(Exception):
    """Stands in the place of an error that the thread has not noticed."""


def _raise_in(thread: int, error: type[Exception]) -> None:
    """Raise an error in a thread, in the place of one that it has not noticed yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def _take_back(thread: int) -> None:
    """Take back what the calling thread has not noticed yet.

    By another error that it notices here. To raise nothing would clear it as well, but Pythons before 3.13
    then believe for ever that a thread has something to raise: each call looks for it, and under a tracer
    no call returns any more.
    """
    try:
        _raise_in(thread, _TakenBack)
        _wait_for_it()
    except _TakenBack:
        pass


def _wait_for_it() -> None:
    """A function: Python 3.13 leaves what is raised at a loop's last step out of the `try` around it."""
    while True:
        pass


def _limits_of_app(app: Any) -> _Limits:
    """The hard and the soft limit of tasks that say none."""
    return app.conf.task_time_limit, app.conf.task_soft_time_limit


def _limits_of(task: Task, ours: float | None, of_app: _Limits) -> _Limits:
    """The hard and the soft limit in seconds: the message's, the task's, or the app's."""
    hard, soft = task.request.timelimit or (None, None)
    if ours is not None and hard == task.time_limit:
        hard = None  # the task's, which Celery puts on each message: when it kills, not when we interrupt
    return hard or ours or task.time_limit or of_app[0], soft or task.soft_time_limit or of_app[1]
