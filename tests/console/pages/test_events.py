"""Events by name."""

from __future__ import annotations

from collections.abc import Callable

from tests.console.conftest import Page, Shop

Look = Callable[[str], Page]


def test_each_name_has_its_numbers_and_who_listens(shop: Shop, look: Look) -> None:
    shop.live("event-1")
    shop.write(shop.record("event-2", event_name="never-heard-of"))

    page = look("/events")

    [placed] = [each for each in page.rows() if each.startswith("order-placed")]
    assert placed.startswith("order-placed 1 1 0")
    assert "shop.cook" in placed
    [unheard] = [each for each in page.rows() if each.startswith("never-heard-of")]
    assert "nobody listens" in unheard
    assert "To these names no subscription of the fleet listens" in page.text
    assert "nothing-like-it" in page.text.partition("Patterns that match nothing")[2]
    assert 'class="sparkline"' in page.source


def test_without_a_journal_it_shows_who_listens_to_registered_names(look_without_stores: Look) -> None:
    assert "There is no journal" in look_without_stores("/events").text
