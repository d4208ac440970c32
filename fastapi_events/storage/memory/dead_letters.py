"""Dead letters in this process's memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from fastapi_events.errors import StorageFull
from fastapi_events.storage.base import read_cursor
from fastapi_events.storage.dead_letters import (
    MAX_LETTERS,
    DeadLetter,
    DeadLetters,
    LetterGroups,
    Letters,
)
from fastapi_events.storage.letters import LetterFilter, group_id, groups_of


class MemoryDeadLetters(DeadLetters):
    """Dead letters that end with their process."""

    def __init__(self, *, max_letters: int = MAX_LETTERS, edit_letters: bool = False) -> None:
        super().__init__(max_letters=max_letters, edit_letters=edit_letters)
        self._lock = threading.RLock()
        self._letters: dict[str, DeadLetter] = {}

    def add(self, letter: DeadLetter) -> None:
        with self._lock:
            if letter.id not in self._letters and len(self._letters) >= self.max_letters:
                raise StorageFull(f"There are {len(self._letters)} dead letters, which is the limit.")
            self._letters[letter.id] = letter

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
        begin = None if after is None else read_cursor(after)
        letters = sorted(self._matching(subscription, event_name, handler, group), key=_place)
        return [letter for letter in letters if begin is None or _place(letter) > begin][:limit]

    def get(self, id: str) -> DeadLetter | None:  # noqa: A002
        return self._letters.get(id)

    def find(self, prefix: str, *, handler: str | None = None, limit: int = 20) -> Letters:
        found = [
            each
            for each in self._matching(None, None, handler, None)
            if each.event_id is not None and each.event_id.startswith(prefix)
        ]
        return sorted(found, key=lambda each: (each.event_id or "", each.id))[:limit]

    def discard(self, ids: Collection[str]) -> int:
        with self._lock:
            return sum(self._letters.pop(id_, None) is not None for id_ in ids)

    def replayed(self, letters: Sequence[DeadLetter]) -> int:
        with self._lock:
            same = (each.id for each in letters if self._letters.get(each.id) == each)
            return self.discard(list(same))

    def expire(self, before: datetime, *, handler: str | None = None) -> int:
        with self._lock:
            letters = self._matching(None, None, handler, None)
            return self.discard([each.id for each in letters if each.last_at < before])

    def count(
        self,
        *,
        subscription: str | None = None,
        event_name: str | None = None,
        handler: str | None = None,
        group: str | None = None,
    ) -> int:
        return sum(1 for _ in self._matching(subscription, event_name, handler, group))

    def groups(
        self, *, handler: str | None = None, limit: int = 100, wanted: LetterFilter | None = None
    ) -> LetterGroups:
        letters = self._matching(None, None, handler, None)
        return groups_of(letters if wanted is None else filter(wanted.matches, letters))[:limit]

    def _matching(
        self, subscription: str | None, event_name: str | None, handler: str | None, group: str | None
    ) -> Iterator[DeadLetter]:
        with self._lock:
            letters = tuple(self._letters.values())
        for letter in letters:
            if (
                subscription in (None, letter.subscription)
                and event_name in (None, letter.event_name)
                and handler in (None, letter.handler)
                and (group is None or group == group_id(letter))
            ):
                yield letter


def _place(letter: DeadLetter) -> tuple[float, str]:
    return letter.last_at.timestamp(), letter.id
