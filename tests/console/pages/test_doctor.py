"""Doctor."""

from __future__ import annotations

from collections.abc import Callable

from tests.console.conftest import Page, Shop

Look = Callable[[str], Page]


def test_it_says_what_the_command_says_of_each_handler(shop: Shop, look: Look) -> None:
    page = look("/doctor")

    assert "ok catalogue 2 functions, 1 live worker" in page.text
    assert "ok outbox 0 waiting, 0 without all receipts" in page.text
    assert page.text.index("dramatiq:events") < page.text.index("celery:mail")


def test_dangers_stand_first(look_without_stores: Look) -> None:
    text = look_without_stores("/doctor").text

    assert text.index("danger outbox none") < text.index("advice dead letters left to the engine")
