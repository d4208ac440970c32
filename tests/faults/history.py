"""The history checker: what was accepted, what became of it, and what nobody can account for."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SUBSCRIPTIONS = ("ship", "bill")

Part = tuple[str, int]
"""A subscription, and the number of the event that it owes something to."""


@dataclass(frozen=True)
class Verdict:
    """What the books say.

    Parameters:
        events: Events that were accepted: the client has read the whole response.
        handled: Parts of them that a subscription has completed, at least once.
        duplicates: Completions beyond the first, of the same event under the same id.
        dead: Parts that stand among the dead letters, and messages there that nobody can read.
        reported: Parts of events that were reported lost, by number and id.
        lost: Parts that are neither handled, nor dead, nor reported.
        renamed: Parts that were completed under more than one id.
    """

    events: int
    handled: int
    duplicates: int
    dead: int
    reported: int
    lost: frozenset[Part]
    renamed: frozenset[Part]


@dataclass
class History:
    """The books of a shop, and the orders that a test has placed there.

    Parameters:
        folder: Where the shop's processes write them.
        owed: Parts whose event was accepted.
    """

    folder: Path
    owed: set[Part] = field(default_factory=set)
    subscriptions: tuple[str, ...] = SUBSCRIPTIONS
    _accepted: set[int] = field(default_factory=set)
    _books: dict[str, _Book] = field(default_factory=dict)

    def accept(self, numbers: Any) -> None:
        """The client has read the whole response to the requests for these."""
        for number in numbers:
            self._accepted.add(number)
            self.owed.update((name, number) for name in self.subscriptions)

    def book(self, name: str) -> list[dict[str, Any]]:
        """All lines of a book. The last one may be under way, and is left for the next time."""
        return self._read(name).lines

    def parts(self, name: str) -> set[Part]:
        """The parts in a book."""
        return self._read(name).parts

    def open(self) -> set[Part]:
        """Parts of accepted events that nobody can account for yet."""
        reported = {each["number"] for each in self.book("lost")}
        done = self.parts("handled"), self.parts("dead")
        return {part for part in self.owed.difference(*done) if part[1] not in reported}

    def verdict(self) -> Verdict:
        """What the books say now."""
        completions = Counter[tuple[Part, str]]()
        ids: dict[Part, set[str]] = {}
        for each in self.book("handled"):
            part = each["subscription"], each["number"]
            completions[part, each["id"]] += 1
            ids.setdefault(part, set()).add(each["id"])
        dead = self.parts("dead")
        unreadable = sum(each["number"] is None for each in self.book("dead"))
        reported = {each["number"] for each in self.book("lost")}
        return Verdict(
            events=len(self._accepted),
            handled=len(ids.keys() & self.owed),
            duplicates=sum(count - 1 for count in completions.values()),
            dead=len({part for part in dead - ids.keys() if part[1] is not None}) + unreadable,
            reported=sum(part[1] in reported for part in self.owed - ids.keys()),
            lost=frozenset(self.open()),
            renamed=frozenset(part for part, names in ids.items() if len(names) > 1),
        )

    def _read(self, name: str) -> _Book:
        if name not in self._books:
            self._books[name] = _Book(self.folder / f"{name}.jsonl")
        self._books[name].read_on()
        return self._books[name]


class _Book:
    """A book as far as it has been read: tests look every few milliseconds, and read no line twice."""

    def __init__(self, file: Path) -> None:
        self.lines: list[dict[str, Any]] = []
        self.parts: set[Part] = set()
        self._file = file
        self._offset = 0

    def read_on(self) -> None:
        """Read what has been written since the last time."""
        try:
            with self._file.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            each = json.loads(line)
            self.lines.append(each)
            if "subscription" in each:
                self.parts.add((each["subscription"], each["number"]))
