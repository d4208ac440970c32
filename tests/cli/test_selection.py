"""Beginnings of ids, and guesses at names."""

from __future__ import annotations

import pytest

from fastapi_events.cli.selection import NotThereError, guess, only
from fastapi_events.errors import ConfigurationError


def pick(prefix: str, *ids: str) -> str:
    return only([each for each in ids if each.startswith(prefix)], prefix, what="letter", listing="list")


def test_the_one_that_begins_so() -> None:
    assert pick("ab", "abc", "xyz") == "abc"


def test_an_id_itself_wins_over_those_that_begin_with_it() -> None:
    assert pick("letter-1", "letter-1", "letter-10", "letter-11") == "letter-1"


def test_none_begins_so() -> None:
    with pytest.raises(NotThereError, match=r"There is no letter 'q\\n'; `list` shows them."):
        pick("q\n", "abc")


def test_several_begin_so() -> None:
    with pytest.raises(ConfigurationError, match="4 ids of letters begin with 'a': a1, a2, a3 and 1 more"):
        pick("a", "a1", "a2", "a3", "a4")


def test_an_empty_beginning_is_everybodys() -> None:
    with pytest.raises(ConfigurationError, match="names no letter"):
        pick("", "abc")


@pytest.mark.parametrize(
    ("word", "names", "end"),
    [
        ("cok", ["cook", "clean"], "; did you mean cook?"),
        ("zzz", ["cook", "clean"], "; there is clean, cook."),
        ("cook", ["cook"], "."),
        ("cook", [], "."),
        ("a\x1b", ["a\x1bb"], "; did you mean a\\x1bb?"),
        ("shop.handlers.resrve", ["shop.handlers.unpicklable"], "; there is shop.handlers.unpicklable."),
        (
            "shop.handlers.resrve",
            ["shop.handlers.mail", "shop.handlers.reserve"],
            "; did you mean shop.handlers.reserve?",
        ),
        ("mail", ["shop.handlers.email", "shop.handlers.mail"], "; did you mean shop.handlers.mail?"),
    ],
)
def test_a_guess_ends_a_sentence(word: str, names: list[str], end: str) -> None:
    assert guess(word, names) == end
