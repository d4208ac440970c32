"""Dead letters: messages that were given up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from fastapi_events import checks
from fastapi_events.storage.base import Store, check_aware, storable

if TYPE_CHECKING:
    from fastapi_events.storage.letters import LetterFilter, LetterGroup

MAX_LETTERS = 1_000_000
"""Dead letters that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """A message that was given up.

    Characters that a database cannot hold (NUL, lone surrogates) are kept as their JSON escapes.

    Parameters:
        id: The message's id.
        handler: The handler's name.
        subscription: The subscription's name.
        queue: The queue that it came from.
        event_id: The event's id, where the envelope could be read.
        event_name: The event's name, where the envelope could be read.
        argument: The message's one argument, JSON text: the envelope where it could be read.
        reason: Why it was given up, in one line.
        traceback: Where the last attempt failed.
        attempts: How often it was tried.
        first_at: When its event was dispatched; the last attempt where there is no event to be read.
        last_at: When it was given up.
    """

    id: str
    handler: str
    subscription: str
    queue: str
    event_id: str | None
    event_name: str | None
    argument: str
    reason: str
    traceback: str
    attempts: int
    first_at: datetime
    last_at: datetime

    def __post_init__(self) -> None:
        check_aware("first_at", self.first_at)
        check_aware("last_at", self.last_at)
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, str):
                # The class is frozen for its users; until here it is still being made.
                object.__setattr__(self, each.name, storable(value))

    @property
    def cursor(self) -> str:
        """Where the letter stands in the list; opaque, and good even after the letter has gone."""
        return f"{self.last_at.timestamp()!r}/{self.id}"


Letters: TypeAlias = list[DeadLetter]
LetterGroups: TypeAlias = "list[LetterGroup]"


class DeadLetters(Store, ABC):
    """Messages that were given up, until somebody decides about them.

    Parameters:
        max_letters: How many are kept at most; several processes that add at once may exceed it a little.
        edit_letters: Whether commands may replay a letter with another payload.
    """

    max_letters: int = MAX_LETTERS
    allows_editing: bool = False

    def __init__(self, *, max_letters: int = MAX_LETTERS, edit_letters: bool = False) -> None:
        self.max_letters = checks.whole("max_letters", max_letters, least=1)
        self.allows_editing = checks.flag("edit_letters", edit_letters)

    @abstractmethod
    def add(self, letter: DeadLetter) -> None:
        """Keep a letter; one with the same id is replaced.

        Raises:
            StorageFull: When there is no room for it.
        """

    @abstractmethod
    def list(
        self,
        *,
        limit: int = 100,
        after: str | None = None,
        subscription: str | None = None,
        event_name: str | None = None,
        handler: str | None = None,
        group: str | None = None,
        wanted: LetterFilter | None = None,
    ) -> Letters:
        """Show letters, the one that was given up first at the head.

        Parameters:
            group: The whole id of their group, as `group_id` gives it.
            after: Begin behind the letter with this `cursor`, which may have gone meanwhile.
            wanted: Letters that this filter does not mean may be left out.
        """

    @abstractmethod
    def get(self, id: str) -> DeadLetter | None:  # noqa: A002 - the word of the field
        """The letter with this id."""

    @abstractmethod
    def find(self, prefix: str, *, handler: str | None = None, limit: int = 20) -> Letters:
        """The letters about events whose ids begin with a prefix."""

    @abstractmethod
    def discard(self, ids: Collection[str]) -> int:
        """Remove letters, and count those that were there."""

    @abstractmethod
    def replayed(self, letters: Sequence[DeadLetter]) -> int:
        """Their messages have been sent once more: remove them, and count those that were there.

        One that has been added again since it was read stays: its message has failed again already.
        """

    @abstractmethod
    def expire(self, before: datetime, *, handler: str | None = None) -> int:
        """Remove what was given up before that time, and count it.

        Parameters:
            handler: Only letters of this handler; of all that share the store if not given.
        """

    @abstractmethod
    def count(
        self,
        *,
        subscription: str | None = None,
        event_name: str | None = None,
        handler: str | None = None,
        group: str | None = None,
    ) -> int:
        """Count letters."""

    @abstractmethod
    def groups(
        self, *, handler: str | None = None, limit: int = 100, wanted: LetterFilter | None = None
    ) -> LetterGroups:
        """The groups of letters that have one cause, the largest first.

        Parameters:
            wanted: Only letters that this filter means; of all if not given, as they are kept.
        """
