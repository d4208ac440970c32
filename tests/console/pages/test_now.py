"""Now."""

from __future__ import annotations

from collections.abc import Callable

from tests.console.conftest import Page, Shop

Look = Callable[[str], Page]


def test_it_shows_the_last_hour_what_fails_and_what_needs_a_person(shop: Shop, look: Look) -> None:
    shop.live("event-1")
    shop.letter()

    page = look("/")

    assert "dispatched 1 handled 1 failed 1" in page.text
    assert 'aria-label="The last 60 minutes: 1 event dispatched, 1 handled, 1 attempt failed"' in page.source
    assert "danger dramatiq:events 1 dead letter waits for somebody to decide." in page.text
    assert "shop.cook dramatiq:events 1 1 0" in page.rows()
    assert "/event/event-1" in page.links


def test_without_a_journal_it_says_what_would_show_it(look_without_stores: Look) -> None:
    page = look_without_stores("/")

    assert page.status == 200
    assert "There is no journal" in page.text
    assert (
        "danger list:bare Events can be lost by its set-up: outbox, catalogue. The doctor says" in page.text
    )
