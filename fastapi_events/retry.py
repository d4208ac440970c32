"""When a failed subscription runs again: a pure value, with no clock and no queue in it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

_MOST_DOUBLINGS = 1023
"""Beyond it a float overflows; every wait has reached `max_backoff` long before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """When a failed subscription runs again, and when it is given up.

    Parameters:
        max_retries: Attempts after the first; 0 never retries.
        min_backoff: Wait before the first retry, a `timedelta` or seconds; doubles with each one.
        max_backoff: The longest wait, a `timedelta` or seconds.
        jitter: Spread each wait over 50 to 100 % of itself, so that failures do not retry in step.
        give_up_on: A class of errors, or several, that no retry can mend, such as `InvalidPayload`.

    Raises:
        TypeError: When a parameter is of the wrong kind.
        ValueError: When a number is negative or not finite, or `min_backoff` exceeds `max_backoff`.
    """

    max_retries: int = 5
    min_backoff: float | timedelta = 1.0
    max_backoff: float | timedelta = 600.0
    jitter: bool = True
    give_up_on: type[BaseException] | tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.max_retries, bool) or not isinstance(self.max_retries, int):
            raise TypeError(f"max_retries must be a whole number, not {self.max_retries!r}")
        if self.max_retries < 0:
            raise ValueError(f"max_retries must be 0 or more, not {self.max_retries}")
        if not isinstance(self.jitter, bool):
            raise TypeError(f"jitter must be True or False, not {self.jitter!r}")
        shortest, longest = (
            _seconds("min_backoff", self.min_backoff),
            _seconds("max_backoff", self.max_backoff),
        )
        if shortest > longest:
            raise ValueError(f"min_backoff ({shortest} s) must not be longer than max_backoff ({longest} s)")
        # The class is frozen for its users; until here it is still being made.
        object.__setattr__(self, "min_backoff", shortest)
        object.__setattr__(self, "max_backoff", longest)
        object.__setattr__(self, "give_up_on", _exceptions(self.give_up_on))

    @property
    def longest_wait(self) -> float:
        """`max_backoff` in seconds."""
        return _seconds("max_backoff", self.max_backoff)

    def within(self, longest: float) -> RetryPolicy:
        """The same policy, which never waits longer than `longest` seconds."""
        shortest = min(_seconds("min_backoff", self.min_backoff), longest)
        return replace(self, min_backoff=shortest, max_backoff=min(self.longest_wait, longest))

    def giving_up_on(self, *errors: type[BaseException]) -> RetryPolicy:
        """The same policy, which gives up on these errors as well."""
        return replace(self, give_up_on=(*_exceptions(self.give_up_on), *errors))

    def next_wait(self, attempt: int, error: BaseException) -> float | None:
        """Decide what follows a failed attempt.

        Parameters:
            attempt: How many attempts have failed so far, this one included: 1 after the first.
            error: What the attempt raised.

        Returns:
            Seconds to wait before the next attempt; None to give up.
        """
        if attempt < 1:
            raise ValueError(f"attempt must count from 1, not {attempt}")
        if attempt > self.max_retries or isinstance(error, self.give_up_on):
            return None
        doubled = _seconds("min_backoff", self.min_backoff) * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS)
        wait = min(doubled, self.longest_wait)
        if self.jitter:
            wait *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
        return wait


def _seconds(parameter: str, value: object) -> float:
    """The parameter as a finite number of seconds."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{parameter} must be a timedelta or a number of seconds, not {value!r}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{parameter} must be finite and 0 or more, not {seconds}")
    return seconds


def _exceptions(value: Any) -> tuple[type[BaseException], ...]:
    """`give_up_on` as the tuple that `isinstance` takes."""
    classes = (value,) if isinstance(value, type) else value
    if not isinstance(classes, (tuple, list, set, frozenset)):
        raise TypeError(f"give_up_on must be an exception class or a tuple of them, not {value!r}")
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise TypeError(f"give_up_on must hold exception classes, not {each!r}")
    return tuple(classes)
