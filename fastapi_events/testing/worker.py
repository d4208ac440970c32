"""`InlineWorker`: an application's events, handled in the process of the test."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from fastapi_events import checks, clock, under_test
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import InvalidSetting, leaves, raise_together
from fastapi_events.event import EventName
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.lifecycle import forget, observe
from fastapi_events.process_loop import running_loop
from fastapi_events.scope import collect_events
from fastapi_events.scope.config import checked_handlers
from fastapi_events.testing.faults import CrashPoint, ErrorToRaise, checked_crash_point, checked_error
from fastapi_events.testing.function_results import Function
from fastapi_events.testing.local_faults import failing_locally
from fastapi_events.testing.results import Run
from fastapi_events.testing.stand_ins import installed
from fastapi_events.testing.work import Work

T = TypeVar("T")

_FURTHEST_SECONDS = 100 * 365 * 86_400.0
"""How far the clock is set ahead at once: datetimes have an end."""


class InlineWorker:
    """Runs what listens to an application's events, in this process and over the real wire format.

    While the `with` block lasts, each queue handler is stood in for by one with the same functions and
    settings, whose messages and stores are in memory: events are encoded, sealed, fanned out, unsealed and
    validated, dependencies resolved, `once=`, order, batches, routes and delays applied by the code that runs
    in workers. Retries and delays wait by a clock that is set ahead; nothing sleeps.

        with InlineWorker(events) as worker:
            client.post("/orders", json={"n": 1})
            run = worker.run()
        run.assert_ran(cook, times=1)

    Parameters:
        handlers: Whose events; those of the application, found in this process, if none are given.
    """

    def __init__(self, *handlers: BaseEventHandler) -> None:
        self._work = Work(checked_handlers(handlers))
        self._leaving = ExitStack()
        self.last_run: Run | None = None
        """What `run()`, `emit()`, `advance()` or `replay()` came to last, also where it raised."""

    def __enter__(self) -> Self:
        if self in _open:
            raise RuntimeError("This worker's block is open already; make another InlineWorker.")
        leaving = self._leaving
        leaving.callback(setattr, under_test, "seconds_ahead", under_test.seconds_ahead)
        leaving.callback(self._work.close)
        observe(self._work.log)
        leaving.callback(forget, self._work.log)
        leaving.enter_context(installed(self._work))
        _open.append(self)
        leaving.callback(_open.remove, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.close()

    # What a test does

    def run(self, *, raise_errors: bool = True) -> Run:
        """Handle what waits, retries included, until nothing does but events that are to be delayed.

        Parameters:
            raise_errors: Raise what functions raised whose messages were given up; not what `failing` made
                them raise.

        Returns:
            What happened since the worker was asked last.

        Raises:
            BaseException: What a function raised, with its traceback; several as a group.
            RuntimeError: When there is no end to it.
        """
        return self._after(self._work.until_idle, raise_errors)

    def emit(
        self, event_name_or_model: EventName | Any, payload: Any = None, *, raise_errors: bool = True,
        **options: Any,
    ) -> Run:  # fmt: skip
        """Dispatch an event to the application's handlers, in a scope of its own, and handle what follows.

        Parameters:
            event_name_or_model: As for `dispatch()`.
            payload: As for `dispatch()`.
            raise_errors: As for `run()`.
            options: The others of `dispatch()`.

        Returns:
            What happened since the worker was asked last.
        """

        def dispatch_and_work() -> None:
            try:
                with collect_events(self._work.targets(), raise_errors=True):
                    dispatch(event_name_or_model, payload, **options)
            except BaseException as error:
                if not self._work.is_told(error):
                    raise
                self._work.errors += leaves(error)
            self._work.until_idle()

        return self._after(dispatch_and_work, raise_errors)

    def advance(
        self, by: float | timedelta = 0.0, *, seconds: float = 0.0, minutes: float = 0.0, hours: float = 0.0,
        days: float = 0.0, raise_errors: bool = True,
    ) -> Run:  # fmt: skip
        """Set the clock ahead, and handle what comes to be due, each at its time.

        Parameters:
            by: How far, a `timedelta` or seconds; the others are added.

        Returns:
            What happened since the worker was asked last.
        """
        units = {"seconds": 1, "minutes": 60, "hours": 3_600, "days": 86_400}
        given = {"seconds": seconds, "minutes": minutes, "hours": hours, "days": days}
        span = checks.seconds("by", by)
        span += sum(checks.seconds(unit, value) * units[unit] for unit, value in given.items())
        if span > _FURTHEST_SECONDS:
            raise InvalidSetting(f"advance() by {span:g} s: expected no more than a hundred years.")
        return self._after(lambda: self._work.until(clock.timestamp() + span), raise_errors)

    def replay(self, *, raise_errors: bool = True) -> Run:
        """Send every dead letter of the worker's handlers to its function once more, and handle it.

        Returns:
            What happened since the worker was asked last.
        """

        def replay_and_work() -> None:
            for each in list(self._work.inline.values()):
                for _ in each.current().replay_all():
                    pass
            self._work.until_idle()

        return self._after(replay_and_work, raise_errors)

    def handler(self, original: TaskQueueHandler) -> TaskQueueHandler:
        """The handler that stands in for a queue handler, with its stores in memory.

        Raises:
            InvalidSetting: When it is none of the worker's queue handlers.
        """
        self._check_open()
        return self._work.inline_handler(self._work.checked_queue("original", original)).current()

    # What a test breaks

    def failing(
        self, function: Function, error: ErrorToRaise, *, times: int | None = None
    ) -> AbstractContextManager[None]:
        """A block in which a function raises an error instead of being called.

        Parameters:
            function: The function, or the name of its subscription.
            error: An error, or a class of errors.
            times: How often; always if not given.

        Raises:
            ConfigurationError: When no handler has the function, or the error cannot be raised.
        """
        self._check_open()
        if times is not None:
            checks.whole("times", times, least=1)
        return self._failing(function, checked_error(error), times)

    @contextmanager
    def _failing(self, function: Function, error: ErrorToRaise, times: int | None) -> Iterator[None]:
        found = self._work.subscriptions(function)
        functions = list({id(each.function): each.function for each in found}.values())
        local = [each for each in self._work.handlers() if isinstance(each, LocalHandler)]
        faults = self._work.faults
        with faults.fail(functions, error, times), failing_locally(local, found, faults):
            yield

    def broker_down(self, handler: BaseEventHandler | None = None) -> AbstractContextManager[None]:
        """A block in which the broker takes nothing and delivers nothing.

        Parameters:
            handler: Whose; that of every handler if not given.

        Raises:
            InvalidSetting: When it is none of the worker's queue handlers.
        """
        self._check_open()
        return self._broker_down(None if handler is None else self._work.checked_queue("handler", handler))

    @contextmanager
    def _broker_down(self, handler: BaseEventHandler | None) -> Iterator[None]:
        try:
            with self._work.faults.keep_away(handler):
                yield
        finally:
            for each in self._work.inline.values():
                each.broker_is_back()

    def crash_after(self, point: CrashPoint, *, times: int = 1) -> AbstractContextManager[None]:
        """A block in which a process dies after something, so that its message comes once more.

        Parameters:
            point: `"publish"`, when the broker has its messages and it does not know so yet; `"run"`, when a
                function has returned and its message is not acknowledged.
            times: How often.
        """
        self._check_open()
        checks.whole("times", times, least=1)
        return self._work.faults.crash(checked_crash_point(point), times)

    def duplicate(self) -> AbstractContextManager[None]:
        """A block in which the broker delivers twice whatever it is sent."""
        self._check_open()
        return self._work.faults.duplicate()

    def reorder(self, *, seed: int = 0) -> AbstractContextManager[None]:
        """A block in which messages that are due come in any order; the same seed gives the same."""
        self._check_open()
        return self._work.faults.reorder(checks.whole("seed", seed, least=0))

    # Inside

    def _after(self, work: Callable[[], None], raise_errors: bool) -> Run:
        checks.flag("raise_errors", raise_errors)
        self._check_open()
        try:
            _apart(work)
        finally:
            news = self._work.news()
            run = self.last_run = Run(news, self._names, self._work.outstanding())
            errors = self._work.errors_of(news)
        if raise_errors:
            raise_together(errors, "several functions failed")
        return run

    def _check_open(self) -> None:
        if self not in _open:
            raise RuntimeError("The worker's block is not open: `with InlineWorker(…) as worker: …`.")

    def _names(self, function: Function) -> frozenset[str]:
        return frozenset(each.name for each in self._work.subscriptions(function))


_open: list[InlineWorker] = []


def current_worker() -> InlineWorker:
    """The worker whose block is open.

    Raises:
        RuntimeError: When none is.
    """
    if not _open:
        raise RuntimeError("No worker is here: use the fixture `worker`, or `with InlineWorker(…):`.")
    return _open[-1]


def _apart(work: Callable[[], T]) -> T:
    """Do something as a worker's process would: in an empty context, and where no event loop runs."""
    context = contextvars.Context()
    if running_loop() is None:
        return context.run(work)
    with ThreadPoolExecutor(1, thread_name_prefix="fastapi-events-inline-worker") as threads:
        return threads.submit(context.run, work).result()
