"""What a page asks of stores and brokers: in threads, under a deadline, and once for all who ask the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi_events.bounded_call import BoundedCall

DEADLINE_SECONDS = 3.0
"""How long a page waits for an answer; what has none by then says so in its place."""

GOOD_FOR_SECONDS = 2.0
"""For how long an answer is given to others who ask the same."""

_REMEMBERED = 256
_AT_ONCE = 12
"""Calls under way at one source: one that hangs shall not cost a thread for each page that is looked at."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """What a source has answered.

    Parameters:
        value: The answer; None where there is none.
        trouble: Why there is none, in a sentence.
    """

    value: T | None = None
    trouble: str | None = None


class Reads:
    """Asks stores and brokers for all who look.

    Parameters:
        deadline: Seconds for an answer.
        good_for: Seconds for which an answer is given to others who ask the same.
    """

    def __init__(self, *, deadline: float = DEADLINE_SECONDS, good_for: float = GOOD_FOR_SECONDS) -> None:
        self.deadline = deadline
        self._good_for = good_for
        self._lock = threading.Lock()
        self._calls: dict[tuple[str, Hashable], BoundedCall[Any]] = {}
        self._abandoned: list[tuple[str, BoundedCall[Any]]] = []

    async def ask(
        self, source: str, key: Hashable, call: Callable[[], T], *, good_for: float | None = None
    ) -> Told[T]:
        """Ask, and wait for the answer.

        Parameters:
            source: Who is asked, as the sentence about its failure begins: `"The journal"`.
            key: What is asked; an answer to the same is shared.
            call: Asks.
            good_for: Seconds for which the answer is given to others; as all answers if not given.
        """
        made = self._call(source, key, call, self._good_for if good_for is None else good_for)
        if made is None:
            return Told(trouble=f"{source} does not answer: {_AT_ONCE} questions wait for it already.")
        answer = await made.answer(timeout=self.deadline)
        if answer is None:
            return Told(trouble=f"{source} has not answered within {self.deadline:g} s.")
        if answer.error is not None:
            return Told(trouble=f"{source} cannot be asked: {type(answer.error).__name__}: {answer.error}")
        return Told(answer.value)

    def forget(self) -> None:
        """Ask anew: something has been changed."""
        with self._lock:
            self._abandoned = [each for each in self._every() if each[1].is_under_way]
            self._calls.clear()

    def _call(
        self, source: str, key: Hashable, call: Callable[[], T], good_for: float
    ) -> BoundedCall[T] | None:
        with self._lock:
            made = self._calls.pop((source, key), None)
            if made is None or not made.is_good:  # the call of now: that of then may ask since when it was
                made = BoundedCall(call, good_for=good_for)
            self._calls[source, key] = made  # the latest at the end
            if not made.is_under_way and self._under_way(source) >= _AT_ONCE:
                return None
            made.begin()
            if len(self._calls) > _REMEMBERED:
                oldest = next(iter(self._calls))
                self._abandoned.append((oldest[0], self._calls.pop(oldest)))
                self._abandoned = [each for each in self._abandoned if each[1].is_under_way]
            return made

    def _under_way(self, source: str) -> int:
        return sum(each.is_under_way for name, each in self._every() if name == source)

    def _every(self) -> list[tuple[str, BoundedCall[Any]]]:
        return [*((source, each) for (source, _), each in self._calls.items()), *self._abandoned]
