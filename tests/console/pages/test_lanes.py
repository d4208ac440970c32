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

    assert any(each.startswith("user-7 3 ? waiting") for each in page.rows())
    assert "/event/e-0" in page.links


def test_the_one_that_waits_longest_stands_first_with_its_error(shop: Shop, look: Look) -> None:
    text = '{{"specversion":"1.0","id":"{}","source":"s","type":"order","time":"2026-01-{}T00:00:00Z"}}'
    keys = {f"key-{n}": Lane("dramatiq:events", "shop.cook", f"key-{n}") for n in (2, 1)}
    for number, (key, lane) in enumerate(keys.items()):
        shop.store.lanes.put({lane: [Item(key, text.format(key, 20 - number), "kitchen")]})
    shop.store.lanes.take([keys["key-1"]], token="t", lease=30.0, limit=1)
    shop.store.lanes.release(keys["key-1"], token="t", after=7_500.0, note="failed 2")
    shop.write(shop.record("key-1", "failed", subscription="shop.cook", error="ValueError: no fish"))

    first, second = look("/lanes").rows()[1:]

    assert first.startswith("key-1 1 order retrying in 2 h , failed 2")
    assert first.endswith("ValueError: no fish shop.cook")
    assert second.startswith("key-2 1 order waiting")


def test_none_say_so(look: Look, look_without_stores: Look) -> None:
    assert "No key has events that wait" in look("/lanes").text
    assert "This handler keeps no order" in look_without_stores("/lanes").text
