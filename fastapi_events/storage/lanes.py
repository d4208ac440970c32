"""Lanes: the order in which events with one key are handled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, TypeAlias

from fastapi_events import checks
from fastapi_events.storage.base import Answer, Busy, Store

MAX_LANE_ITEMS = 100_000
"""Items that wait in one lane."""


Item: TypeAlias = tuple[str, str]
"""An item of a lane: its id and its text."""


Entered: TypeAlias = Literal[Answer.HEAD, Answer.WAITING, Answer.GONE] | Busy


class Lanes(Store, ABC):
    """Order: in each lane the items that wait, first in, first out. Only the head of a lane may be worked at.

    Parameters:
        max_items: How many wait in one lane at most.
    """

    max_items: int = MAX_LANE_ITEMS

    def __init__(self, *, max_items: int = MAX_LANE_ITEMS) -> None:
        self.max_items = checks.whole("max_items", max_items, least=0)

    @abstractmethod
    def push(self, lane: str, items: Sequence[Item]) -> str | None:
        """Append items that are not there yet: all or none.

        Returns:
            The id of the lane's head if it is among the items that were given, so that its message has to be
            sent; else None.

        Raises:
            StorageFull: When the lane has no room for them.
        """

    @abstractmethod
    def enter(self, lane: str, id: str, *, token: str, lease: float) -> Entered:  # noqa: A002
        """Work at an item, if it is the lane's head: `HEAD`. The same token may enter again.

        Otherwise it is `WAITING` behind the head, `GONE` (done already), or somebody else is at it: `Busy`.
        """

    @abstractmethod
    def extend(self, lane: str, id: str, *, token: str, lease: float) -> bool:  # noqa: A002
        """Hold the head for another `lease` seconds from now; False where somebody else has it."""

    @abstractmethod
    def release(self, lane: str, id: str, *, token: str) -> None:  # noqa: A002
        """It has failed and stays at the head: anybody may enter at once."""

    @abstractmethod
    def leave(self, lane: str, id: str, *, token: str) -> Item | None:  # noqa: A002
        """The head is done, and removed. Repeating it is harmless.

        Returns:
            The item that is at the head now, whose message has to be sent. None where the lane is empty, or
            somebody else holds the item: nothing is changed then.
        """

    @abstractmethod
    def stalled(
        self, *, older_than: float, limit: int = 100, lane: str | None = None
    ) -> list[tuple[str, str, str]]:
        """Heads that nobody holds and that have been at the head for more than `older_than` seconds.

        Parameters:
            lane: Look only at this one.

        Returns:
            Lane, id and text of each: their messages have to be sent again.
        """
