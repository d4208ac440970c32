"""Audit."""

from __future__ import annotations

from collections.abc import Callable

from tests.console.conftest import Page, Shop

Look = Callable[[str], Page]


def test_it_is_empty_before_somebody_does_something(look: Look) -> None:
    assert "Nobody has done anything yet" in look("/audit").text


def test_the_latest_stands_first(shop: Shop, look: Look) -> None:
    shop.events.pause("shop.cook", by="ada@example.org")
    shop.events.discard([shop.letter()], by="<b>bob</b>")

    rows = look("/audit").rows()

    assert "<b>bob</b> discarded 1 dramatiq:events letter-1" in rows[1]
    assert "ada@example.org paused 1 dramatiq:events shop.cook" in rows[2]


def test_without_a_journal_there_is_none(look_without_stores: Look) -> None:
    assert "There is no journal" in look_without_stores("/audit").text
