"""Which of many shell-style patterns match a name, without trying them one by one."""

from __future__ import annotations

import fnmatch
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_ANY: Final = "*"
_ONE: Final = "?"
_Token = tuple[str, str]  # (kind, text): kind is "" for literal text, else _ANY or _ONE

_GRAM: Final = 4
"""How many characters of a pattern's literal text are looked up in a name. Shorter ones are rarely unique."""

_CACHED_NAMES: Final = 4096
_LONGEST_CACHED: Final = 256


class PatternIndex(Generic[T]):
    """Items by the patterns they listen to: `fnmatch.fnmatchcase`, indexed.

    Exact names and `prefix*` or `*suffix` patterns are looked up. Any other is tried only where some piece of
    its literal text occurs in the name, or where it has none. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._items: list[T] = []
        self._everything: list[int] = []
        self._exact: dict[str, list[int]] = {}
        self._prefixes = _Affixes()
        self._suffixes = _Affixes()
        self._irregular = _Irregular()
        self._cache: dict[tuple[str, ...], Sequence[T]] = {}
        self._adding = threading.Lock()

    def add(self, pattern: str, item: T) -> None:
        """Register an item under a pattern.

        Parameters:
            pattern: `*` stands for any text, `?` for one character, `[ab]` one of these, `[!ab]` any other.
            item: What `match` is to return.
        """
        with self._adding:
            number = len(self._items)
            self._items.append(item)
            tokens = list(_tokens(pattern))
            literal = "".join(text for _, text in tokens)
            shape = [kind for kind, _ in tokens]
            if shape in ([], [""]):
                self._exact.setdefault(literal, []).append(number)
            elif shape == [_ANY]:
                self._everything.append(number)
            elif shape == ["", _ANY]:
                self._prefixes.add(literal, number)
            elif shape == [_ANY, ""]:
                self._suffixes.add(literal, number)
            else:
                self._irregular.add(pattern, tokens, number)
            # Last, and a new one: who looks up meanwhile stores its result in the cache that it began with.
            self._cache = {}

    def match(self, *names: str) -> Sequence[T]:
        """Find the items with a pattern that matches any of an event's spellings.

        Returns:
            One item per registration, in order of registration.
        """
        try:
            return self._cache[names]
        except KeyError:
            return self._find(names)

    def _find(self, names: tuple[str, ...]) -> Sequence[T]:
        cache = self._cache
        numbers: set[int] = set()
        for name in names:
            numbers.update(self._everything, self._exact.get(name, ()))
            for length in self._prefixes.lengths:
                if listed := self._prefixes.by_text.get(name[:length]):
                    numbers.update(listed)
            for length in self._suffixes.lengths:
                if listed := self._suffixes.by_text.get(name[-length:]):
                    numbers.update(listed)
            self._irregular.collect(name, numbers)
        found = tuple([self._items[number] for number in sorted(numbers)])
        if max(map(len, names), default=0) <= _LONGEST_CACHED:
            if len(cache) >= _CACHED_NAMES:
                cache.clear()
            cache[names] = found
        return found


class _Affixes:
    """Beginnings or ends, to be looked up once per distinct length."""

    def __init__(self) -> None:
        self.by_text: dict[str, list[int]] = {}
        self.lengths: tuple[int, ...] = ()

    def add(self, text: str, number: int) -> None:
        self.by_text.setdefault(text, []).append(number)
        if len(text) not in self.lengths:
            self.lengths = (*self.lengths, len(text))


class _Irregular:
    """Patterns that have to be tried, by a piece of text that a matching name must contain."""

    def __init__(self) -> None:
        self._without_text: list[_Candidate] = []
        self._by_gram: dict[str, list[_Candidate]] = {}
        self._frequency: Counter[str] = Counter()
        self._sizes: tuple[int, ...] = ()

    def add(self, pattern: str, tokens: Sequence[_Token], number: int) -> None:
        candidate = _Candidate(pattern, tokens, number)
        literals = [text for kind, text in tokens if not kind]
        if not literals:
            self._without_text.append(candidate)
            return
        size = min(_GRAM, max(map(len, literals)))
        grams = sorted({gram for literal in literals for gram in _grams(literal, size)})
        # The piece that is in the fewest patterns so far, as it is likely to be in few names as well.
        rarest = min(grams, key=self._frequency.__getitem__)
        self._frequency.update(grams)
        self._by_gram.setdefault(rarest, []).append(candidate)
        if size not in self._sizes:
            self._sizes = (*self._sizes, size)

    def collect(self, name: str, numbers: set[int]) -> None:
        """Add the numbers of the patterns that match."""
        _try(self._without_text, name, numbers)
        by_gram = self._by_gram
        if len(by_gram) <= len(name):
            # Few pieces are filed, or the name is huge: no need to cut it up.
            for gram in list(by_gram):
                if gram in name:
                    _try(by_gram[gram], name, numbers)
            return
        for size in self._sizes:
            for start in range(len(name) - size + 1):
                if candidates := by_gram.get(name[start : start + size]):
                    _try(candidates, name, numbers)


def _try(candidates: Iterable[_Candidate], name: str, numbers: set[int]) -> None:
    for candidate in candidates:
        if candidate.matches(name):
            numbers.add(candidate.number)


class _Candidate:
    """One irregular pattern."""

    __slots__ = ("_only_text", "_pattern", "_regex", "_text", "number")

    def __init__(self, pattern: str, tokens: Sequence[_Token], number: int) -> None:
        self.number = number
        self._pattern = pattern
        self._text = max((text for _, text in tokens), key=len)
        self._only_text = [kind for kind, _ in tokens] == [_ANY, "", _ANY]
        self._regex: re.Pattern[str] | None = None

    def matches(self, name: str) -> bool:
        if self._text not in name:
            return False
        if self._only_text:
            return True
        if self._regex is None:
            # Not before it is needed: compiling thousands would delay every start of the program.
            self._regex = re.compile(fnmatch.translate(self._pattern))
        return self._regex.match(name) is not None


def _grams(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(len(text) - size + 1))


def _tokens(pattern: str) -> Iterator[_Token]:
    """The pattern as runs of literal text, runs of `*`, and what stands for one character."""
    literal = ""
    at = 0
    while at < len(pattern):
        end = _end_of_wildcard(pattern, at)
        if end == at:
            literal += pattern[at]
            at += 1
            continue
        if literal:
            yield "", literal
            literal = ""
        yield (_ANY if pattern[at] == _ANY else _ONE), ""
        at = end
    if literal:
        yield "", literal


def _end_of_wildcard(pattern: str, at: int) -> int:
    """Where the wildcard that begins at `at` ends; `at` itself if none does."""
    if pattern[at] == _ANY:
        return len(pattern) - len(pattern[at:].lstrip(_ANY))
    if pattern[at] == _ONE:
        return at + 1
    if pattern[at] == "[":
        # A "]" right after the "[", or after its "!", is a member; without a closing one "[" is a letter.
        first = at + 2 if pattern[at + 1 : at + 2] == "!" else at + 1
        return pattern.find("]", first + 1) + 1 or at
    return at
