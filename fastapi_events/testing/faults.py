"""What a test breaks on purpose: functions that fail, a broker that is away, messages that come twice."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from fastapi_events import checks
from fastapi_events.errors import FunctionExited, InvalidSetting, NotPublished, leaves

ErrorToRaise: TypeAlias = BaseException | type[BaseException]
"""An error, or a class of errors of which each call gets a new one."""

CrashPoint: TypeAlias = Literal["publish", "run"]
"""After what a process dies: the broker has its messages, or a function has run."""

_CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)


class BrokerAway(ConnectionError):
    """What an engine's client would raise while `broker_down()` lasts."""


@dataclass(eq=False)
class _Failing:
    """Functions that fail so many more times, or always."""

    functions: Sequence[Callable[..., Any]]
    error: ErrorToRaise
    left: int | None


@dataclass
class Faults:
    """The faults of one worker that are in force just now."""

    failing: list[_Failing] = field(default_factory=list)
    away: list[object] = field(default_factory=list)
    duplicates: int = 0
    orders: list[random.Random] = field(default_factory=list)
    crashes: list[CrashPoint] = field(default_factory=list)
    was_away: bool = False
    _raised: list[BaseException] = field(default_factory=list)

    def is_wanted(self, error: BaseException) -> bool:
        """Whether a test has asked for an error, so that it is no news to it."""
        if isinstance(error, NotPublished) and self.was_away:
            return True
        return all(self._has_raised(each) for each in leaves(error))

    def _has_raised(self, error: BaseException) -> bool:
        if isinstance(error, FunctionExited) and error.__cause__ is not None:
            error = error.__cause__
        if isinstance(error, _CANCELLED):  # a task that was cancelled raises one of its own
            return any(isinstance(known, _CANCELLED) for known in self._raised)
        # asyncio hands on a copy of a `TimeoutError` that was raised in a thread.
        return any(type(error) is type(known) and error.args == known.args for known in self._raised)

    def around(self, function: Callable[..., Any], *, is_async: bool) -> Callable[..., Any]:
        """The function, which fails first where it is told to."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._fail(function)
            return function(*args, **kwargs)

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            self._fail(function)
            return await function(*args, **kwargs)

        return call_async if is_async else call

    def _fail(self, function: Callable[..., Any]) -> None:
        for each in self.failing:
            if function in each.functions and each.left != 0:
                if each.left is not None:
                    each.left -= 1
                error = each.error if isinstance(each.error, BaseException) else made(each.error)
                self._raised.append(error)
                raise error

    @contextmanager
    def fail(
        self, functions: Sequence[Callable[..., Any]], error: ErrorToRaise, times: int | None
    ) -> Iterator[None]:
        """A block in which some functions fail, so often in all."""
        entry = _Failing(functions, error, times)
        with added(self.failing, entry):
            yield

    @contextmanager
    def keep_away(self, handler: object) -> Iterator[None]:
        """A block in which a handler's broker is away; the brokers of all of them where it is None."""
        self.was_away = True
        with added(self.away, handler):
            yield

    def is_away(self, handler: object) -> bool:
        """Whether a handler's broker is."""
        return any(each is None or each is handler for each in self.away)

    @contextmanager
    def duplicate(self) -> Iterator[None]:
        """A block in which each message is delivered twice."""
        self.duplicates += 1
        try:
            yield
        finally:
            self.duplicates -= 1

    @contextmanager
    def reorder(self, seed: int) -> Iterator[None]:
        """A block in which messages come in another order than they were sent in."""
        with added(self.orders, random.Random(seed)):  # noqa: S311 - an order, no secret
            yield

    @contextmanager
    def crash(self, point: CrashPoint, times: int) -> Iterator[None]:
        """A block in which a process dies so many times after something."""
        pending = [point] * times
        self.crashes += pending
        try:
            yield
        finally:
            for each in pending:
                if each in self.crashes:
                    self.crashes.remove(each)

    def crashes_after(self, point: CrashPoint) -> bool:
        """Whether the process that has come to a point dies now; each time is asked for once."""
        if point in self.crashes:
            self.crashes.remove(point)
            return True
        return False


@contextmanager
def added(to: list[Any], item: object) -> Iterator[None]:
    """A block in which a list has one item more."""
    to.append(item)
    try:
        yield
    finally:
        at = next(at for at, each in enumerate(to) if each is item)
        del to[at]


def made(error: type[BaseException]) -> BaseException:
    """A new error of a class."""
    return error("raised by a test, which has asked for it")


def checked_error(error: ErrorToRaise) -> ErrorToRaise:
    """The error to raise, if it is one and can be made.

    Raises:
        InvalidSetting: When it is neither an error nor a class of errors, or one that needs other arguments,
            or that would end the test instead of the function.
    """
    kind = error if isinstance(error, type) else type(error)
    if issubclass(kind, (KeyboardInterrupt, GeneratorExit)):
        raise InvalidSetting(
            f"error={checks.shown(error)}: that would end the tests; a worker takes SystemExit the same way."
        )
    if isinstance(error, BaseException):
        return error
    if not isinstance(error, type) or not issubclass(error, BaseException):
        raise InvalidSetting(
            f"error={checks.shown(error)}: expected an error or a class of errors, such as TimeoutError."
        )
    try:
        made(error)
    except Exception as refused:
        raise InvalidSetting(
            f"error={error.__name__}: it cannot be made with a text alone ({refused}); pass an instance."
        ) from refused
    return error


def checked_crash_point(point: CrashPoint) -> CrashPoint:
    """The point, if there is one of the name.

    Raises:
        InvalidSetting: When there is none.
    """
    checks.one_of("point", point, CrashPoint)
    assert point in get_args(CrashPoint)  # noqa: S101 - for the reader
    return point
