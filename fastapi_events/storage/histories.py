"""What a journal is given of an event: how it went on, as text that is ready to be kept."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from functools import lru_cache, reduce
from typing import Final, Literal, TypeAlias, get_args

Happening: TypeAlias = Literal[
    "dispatched", "discarded", "stored", "published", "lost", "fanned_out", "unmatched", "started",
    "skipped", "succeeded", "failed", "retried", "dead", "replayed",
]  # fmt: skip
"""What can happen to an event; the hooks of `Lifecycle` say when."""

HAPPENINGS: Final[tuple[str, ...]] = get_args(Happening)

BITS: Final = {each: 1 << at for at, each in enumerate(HAPPENINGS)}
"""Each of them as a bit of a number."""

NOTABLE: Final = frozenset(("lost", "failed", "retried", "dead", "replayed"))
"""An event to which one of these has happened is kept longer than ordinary ones where room is scarce."""

_NOTABLE_BITS: Final = reduce(operator.or_, (BITS[each] for each in NOTABLE))


def bits_of(outcomes: Iterable[str]) -> int:
    """Outcomes as one number, a bit each."""
    return sum([BITS[each] for each in outcomes])


@lru_cache(maxsize=1_024)
def outcomes_of(bits: int) -> frozenset[str]:
    """The outcomes whose bits are set."""
    return frozenset(each for each, bit in BITS.items() if bits & bit)


class History:
    """What is added to what a journal knows of an event.

    Not a dataclass: there is one for each event of a process, and a journal may not cost much.

    Parameters:
        id: The event's id.
        name: Its name.
        correlation: What the events of a chain have in common.
        cause: The event whose function dispatched this one.
        at: When the first of it happened; seconds since 1970.
        ordering_key: Its ordering key, if it has one.
    """

    __slots__ = (
        "bits", "cause", "correlation", "first_at", "id", "last_at", "name", "ordering_key", "payload",
        "texts",
    )  # fmt: skip

    def __init__(
        self,
        id: str,  # noqa: A002 - the word of the field
        name: str,
        correlation: str | None,
        cause: str | None,
        at: float,
        ordering_key: str | None = None,
    ) -> None:
        self.id: str = id
        self.name: str = name
        self.correlation: str | None = correlation
        self.cause: str | None = cause
        self.ordering_key: str | None = ordering_key
        self.payload: str | None = None
        self.first_at: float = at
        self.last_at: float = at
        self.bits: int = 0
        self.texts: list[str] = []
        """A record each, as a JSON object without what is said above."""

    def add(self, bit: int, at: float, text: str) -> None:
        """Add a record.

        Parameters:
            bit: Of what happened; see `BITS`.
            at: When.
            text: The record.
        """
        self.bits |= bit
        if at > self.last_at:
            self.last_at = at
        elif at < self.first_at:
            self.first_at = at
        self.texts.append(text)

    def go_on(self, later: History) -> None:
        """Add what is known since."""
        self.first_at, self.last_at = min(self.first_at, later.first_at), max(self.last_at, later.last_at)
        self.bits |= later.bits
        self.cause = self.cause or later.cause
        self.ordering_key = self.ordering_key or later.ordering_key
        self.payload = self.payload or later.payload
        self.texts += later.texts

    @property
    def text(self) -> str:
        """All records, as a JSON array."""
        return f"[{','.join(self.texts)}]"

    @property
    def is_notable(self) -> bool:
        """Whether something went wrong with the event, if only for a while."""
        return bool(self.bits & _NOTABLE_BITS)
