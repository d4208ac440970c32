"""Which patterns match a name: what `fnmatch.fnmatchcase` says, in order of registration."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastapi_events.subscriptions.pattern import PatternIndex


def index_of(patterns: Iterable[str]) -> PatternIndex[tuple[int, str]]:
    index: PatternIndex[tuple[int, str]] = PatternIndex()
    for entry in enumerate(patterns):
        index.add(entry[1], entry)
    return index


def one_by_one(patterns: Iterable[str], *names: str) -> list[tuple[int, str]]:
    return [
        entry
        for entry in enumerate(patterns)
        if any(fnmatch.fnmatchcase(name, entry[1]) for name in names)
    ]  # fmt: skip


ALL_SHAPES = [
    "cat.fed", "*", "cat.*", "*.fed", "*at.f*", "cat.?ed", "cat.[ef]ed", "c*d", "[!d]at*", "**", "cat.fed",
    "", "?*", "c?t.*d", "*.*", "[c]*", "Cat.*",
]  # fmt: skip


def test_every_shape_of_pattern_matches_in_order_of_registration() -> None:
    found = index_of(ALL_SHAPES).match("cat.fed")

    assert [pattern for _, pattern in found] == [
        "cat.fed", "*", "cat.*", "*.fed", "*at.f*", "cat.?ed", "cat.[ef]ed", "c*d", "[!d]at*", "**",
        "cat.fed", "?*", "c?t.*d", "*.*", "[c]*",
    ]  # fmt: skip
    assert list(found) == one_by_one(ALL_SHAPES, "cat.fed")


def test_nothing_registered_matches_nothing() -> None:
    assert list(PatternIndex[int]().match("cat.fed")) == []


def test_no_name_matches_nothing() -> None:
    assert list(index_of(ALL_SHAPES).match()) == []


def test_one_entry_per_registration_however_many_spellings_match() -> None:
    index: PatternIndex[str] = PatternIndex()
    index.add("fed", "by value")
    index.add("*", "all")
    index.add("Meal.*", "by member")
    index.add("*e*", "all again")

    assert list(index.match("fed", "Meal.FED")) == ["by value", "all", "by member", "all again"]


def test_an_item_under_two_matching_patterns_is_found_twice() -> None:
    index: PatternIndex[str] = PatternIndex()
    index.add("cat*", "feed")
    index.add("*fed", "feed")

    assert list(index.match("cat.fed")) == ["feed", "feed"]


def test_what_is_added_after_a_match_is_found_by_the_next() -> None:
    index = index_of(["cat.*"])
    index.match("cat.fed")

    index.add("*.fed", (1, "*.fed"))

    assert list(index.match("cat.fed")) == [(0, "cat.*"), (1, "*.fed")]


PIECES = [
    "*",
    "?",
    "[",
    "]",
    "!",
    "-",
    "a",
    "b",
    "ab",
    "\n",
    ".",
    "\\",
    "[!a]",
    "[]]",
    "[a-c]",
    "[!]a]",
    "[b-a]",
    "^",
]
texts = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=10)


@settings(max_examples=500)
@given(st.lists(texts, max_size=12), st.lists(texts, min_size=1, max_size=3))
@example(["[!a]", "[]]", "[", "", "a[", "*[a", "[!]", "[]", "?", "*]*"], ["", "a", "]", "[", "\n", "*[a"])
def test_it_agrees_with_trying_the_patterns_one_by_one(patterns: list[str], names: list[str]) -> None:
    index = index_of(patterns)

    for _ in ("fresh", "cached"):
        assert list(index.match(*names)) == one_by_one(patterns, *names)
        for name in names:
            assert list(index.match(name)) == one_by_one(patterns, name)


@given(st.lists(texts, min_size=1, max_size=30), st.data())
def test_it_agrees_on_names_that_are_made_to_match(patterns: list[str], data: st.DataObject) -> None:
    base = data.draw(st.sampled_from(patterns))
    name = data.draw(texts).join(base.replace("?", "x").split("*"))

    assert list(index_of(patterns).match(name)) == one_by_one(patterns, name)


@pytest.mark.parametrize("pattern", ["*xab*", "x*", "*x", "[xy]*", "x", "*a*b*c*x", "?x*", "*"])
def test_a_name_of_a_megabyte_is_matched_soon_and_not_kept(pattern: str) -> None:
    index = index_of([pattern, *(f"*literal{number}*" for number in range(100))])
    name = "ab" * 500_000

    found = index.match(name)  # by a regular expression that goes back again and again, it would take hours

    assert list(found) == one_by_one([pattern], name)
    assert index._cache == {}


def test_what_is_remembered_is_bounded() -> None:
    index = index_of(["name-1*"])

    for number in range(10_000):
        assert len(index.match(f"name-{number}")) == str(number).startswith("1")

    assert len(index._cache) <= 4096


def test_matching_while_another_thread_registers() -> None:
    index: PatternIndex[int] = PatternIndex()
    errors: list[BaseException] = []
    finished = threading.Event()

    def look() -> None:
        seen = 0
        try:
            while not finished.is_set():
                count = len(index.match("cat.fed"))
                assert count >= seen, "what had been found once is missing"
                seen = count
        except BaseException as error:
            errors.append(error)

    watchers = [threading.Thread(target=look) for _ in range(4)]
    for watcher in watchers:
        watcher.start()
    for number in range(2_000):
        index.add(("cat.*", "*.fed", "*t.f*", "cat.fed", "c?t*", f"{number}*")[number % 6], number)
    finished.set()
    for watcher in watchers:
        watcher.join()

    assert errors == []
    assert list(index.match("cat.fed")) == [number for number in range(2_000) if number % 6 != 5]
