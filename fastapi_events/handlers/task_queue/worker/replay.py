"""How fast dead letters are replayed: so many a second, and so many at once."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Final

from fastapi_events import checks
from fastapi_events.errors import ConfigurationError
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.journal import Journal

_PAGE: Final = 500
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)(?:/([smh]))?")
_STEPS_A_SECOND: Final = 4
_LOOK_EVERY_SECONDS: Final = 0.1
_LOOKS_IN_VAIN: Final = 5
"""A journal that is asked for each of many letters which have not ended would be asked too much."""
_GIVE_UP_WAITING_SECONDS: Final = 300.0
"""A replayed letter of which the journal has not told anything for so long is not waited for any more."""

_DONE: Final = frozenset(("succeeded", "skipped", "dead"))


def rate_of(text: str) -> float:
    """A number of letters a second, as people write it: 200/s, 30/m.

    Raises:
        ValueError: When it is none.
    """
    match = _RATE.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is no rate; write for example 200/s or 30/m")
    return float(match[1]) / {"s": 1, "m": 60, "h": 3_600}[match[2] or "s"]


class Pace:
    """Lets a replay go on no faster than it is to.

    Parameters:
        rate: Letters a second, at most; None for no limit.
        max_in_flight: Letters that are replayed and whose functions have not ended yet, at most.
        journal: Tells which have ended.

    Raises:
        InvalidSetting: When a number is not above 0.
        ConfigurationError: When there is no journal to tell.
    """

    def __init__(self, rate: float | None, max_in_flight: int | None, journal: Journal | None) -> None:
        self._rate = None if rate is None else checks.seconds("rate", rate, positive=True)
        if max_in_flight is not None:
            checks.whole("max_in_flight", max_in_flight, least=1)
            if journal is None:
                raise ConfigurationError(
                    "max_in_flight needs a journal, which tells what has ended: pass store= or journal= to "
                    "the handler, or replay at a rate."
                )
        self._most = max_in_flight
        self._journal = journal
        self._next_at = time.monotonic()
        self._running: dict[tuple[str, str], float] = {}

    @property
    def step(self) -> int:
        """How many letters may be replayed next, once it is time."""
        step = _PAGE if self._rate is None else max(1, min(_PAGE, int(self._rate / _STEPS_A_SECOND)))
        return step if self._most is None else max(1, min(step, self._most - len(self._running)))

    def wait(self) -> None:
        """Wait until it is time for the next letters."""
        time.sleep(max(0.0, self._next_at - time.monotonic()))
        while self._most is not None and len(self._running) >= self._most:
            self._look()
            if len(self._running) >= self._most:
                time.sleep(_LOOK_EVERY_SECONDS)

    def replayed(self, letters: Sequence[DeadLetter], *, since: float) -> None:
        """Take note of letters that have been replayed.

        Parameters:
            since: When that began; what the journal tells of their events before is not their end.
        """
        if self._rate is not None:
            self._next_at = max(self._next_at, time.monotonic()) + len(letters) / self._rate
        if self._most is not None:
            for each in letters:
                if each.event_id is not None:
                    self._running[each.event_id, each.subscription] = since

    def _look(self) -> None:
        """Forget those that have ended, as far as a look at those that have waited longest shows."""
        assert self._journal is not None  # noqa: S101 - for the type checker
        in_vain = 0
        for (event_id, subscription), since in list(self._running.items()):
            del self._running[event_id, subscription]
            ended = any(
                each.at > since and each.subscription == subscription and each.what in _DONE
                for each in self._journal.records(event_id)
            )
            if ended or time.time() - since > _GIVE_UP_WAITING_SECONDS:
                continue
            self._running[event_id, subscription] = since  # the last now: the others are looked at before
            in_vain += 1
            if in_vain == _LOOKS_IN_VAIN:
                return
