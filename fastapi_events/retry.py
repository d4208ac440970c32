"""When a failed subscription runs again: a pure value, with no clock and no queue in it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import timedelta

from fastapi_events import checks
from fastapi_events.errors import InvalidSetting, leaves

_MOST_DOUBLINGS = 1023
"""Beyond it a float overflows; every wait has reached `max_backoff` long before."""


@checks.names_parameters
@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """When a failed subscription runs again, and when it is given up.

    Parameters:
        max_retries: Attempts after the first; 0 never retries.
        min_backoff: Wait before the first retry, a `timedelta` or seconds; doubles with each one.
        max_backoff: The longest wait, a `timedelta` or seconds.
        jitter: Spread each wait over 50 to 100 % of itself, so that failures do not retry in step.
        give_up_on: A class of errors, or several, that no retry can mend, such as `InvalidPayload`. A group
            of errors is given up where all of its leaves are of these, or it is itself.

    Raises:
        InvalidSetting: When there is no parameter of a name, or it cannot have its value: it is of the wrong
            kind, negative or not finite, or `min_backoff` exceeds `max_backoff`.
    """

    max_retries: int = 5
    min_backoff: float | timedelta = 1.0
    max_backoff: float | timedelta = 600.0
    jitter: bool = True
    give_up_on: type[BaseException] | tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        checks.whole("max_retries", self.max_retries, least=0)
        checks.flag("jitter", self.jitter)
        shortest = checks.seconds("min_backoff", self.min_backoff)
        longest = checks.seconds("max_backoff", self.max_backoff)
        if shortest > longest:
            raise InvalidSetting(
                f"min_backoff ({shortest} s) must not be longer than max_backoff ({longest} s)."
            )
        # The class is frozen for its users; until here it is still being made.
        object.__setattr__(self, "min_backoff", shortest)
        object.__setattr__(self, "max_backoff", longest)
        object.__setattr__(self, "give_up_on", checks.error_classes("give_up_on", self.give_up_on))

    @property
    def longest_wait(self) -> float:
        """`max_backoff` in seconds."""
        return checks.seconds("max_backoff", self.max_backoff)

    def within(self, longest: float) -> RetryPolicy:
        """A copy of this policy that never waits longer than `longest` seconds."""
        shortest = min(checks.seconds("min_backoff", self.min_backoff), longest)
        return replace(self, min_backoff=shortest, max_backoff=min(self.longest_wait, longest))

    def giving_up_on(self, *errors: type[BaseException]) -> RetryPolicy:
        """A copy of this policy that gives up on these errors as well."""
        return replace(self, give_up_on=(*checks.error_classes("give_up_on", self.give_up_on), *errors))

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
        if attempt > self.max_retries or self._is_hopeless(error):
            return None
        doubled = checks.seconds("min_backoff", self.min_backoff) * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS)
        wait = min(doubled, self.longest_wait)
        if self.jitter:
            wait *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
        return wait

    def _is_hopeless(self, error: BaseException) -> bool:
        if isinstance(error, self.give_up_on):
            return True
        return all(isinstance(each, self.give_up_on) for each in leaves(error))
