"""Messages for functions that only other workers have: how soon each goes back to its queue."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

# A message is passed on at once, so often, then after a while.
_AT_ONCE = 8
_LONGEST_PASS_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 30.0
_MOST_MESSAGES = 10_000


class Passes:
    """Counts how often this process has passed on each message, which comes back when nobody takes it."""

    def __init__(self) -> None:
        self._passed: dict[int, int] = {}

    def seconds(self, name: str, arguments: Sequence[Any], *, alive: bool) -> float:
        """How long a message is held until it is passed on, each time longer.

        Where a live worker has it, by chance between a tenth of that and all. Two messages that two workers
        pass on at one pace would else come back in turn, each to the worker that does not have it, without
        end: a worker of Dramatiq looks for what is due once a second, which undoes small differences.

        Parameters:
            name: Its subscription's.
            arguments: The message's, by which it is known again.
            alive: Whether a live worker has the subscription.
        """
        passed = self._count(hash((name, str(arguments))))
        if not alive:
            long: float = min(2.0 ** min(passed, 10), _LONGEST_WAIT_SECONDS)
            return random.uniform(0.75, 1.0) * long  # noqa: S311 - nothing is kept secret by it
        if passed < _AT_ONCE:
            return 0.0
        short: float = min(0.05 * 2 ** min(passed - _AT_ONCE, 10), _LONGEST_PASS_SECONDS)
        return random.uniform(0.1, 1.0) * short  # noqa: S311 - as above

    def _count(self, key: int) -> int:
        passed = self._passed.pop(key, 0)
        while len(self._passed) >= _MOST_MESSAGES:
            self._passed.pop(next(iter(self._passed)), None)  # the one that was passed on longest ago
        self._passed[key] = passed + 1
        return passed
