"""Lanes."""

from __future__ import annotations

from collections.abc import Callable

from fastapi_events.storage.lanes import Item, Lane
from tests.console.conftest import Page, Shop

Look = Callable[[str], Page]


def test_the_keys_that_wait_with_what_stands_at_their_head(shop: Shop, look: Look) -> None:
    lane = Lane("dramatiq:events", "shop.cook", "user-7")
    shop.store.lanes.put({lane: [Item(f"e-{each}", "{}", "kitchen") for each in range(3)]})

    page = look("/lanes")

    assert any(each.startswith("user-7 shop.cook 3") for each in page.rows())
    assert "/event/e-0" in page.links


def test_none_say_so(look: Look, look_without_stores: Look) -> None:
    assert "No key has events that wait" in look("/lanes").text
    assert "This handler keeps no order" in look_without_stores("/lanes").text
