"""Subscriptions."""

from __future__ import annotations

from collections.abc import Callable

from tests.console.conftest import Page, Shop, cook

Look = Callable[[str], Page]


def test_each_has_its_pattern_queue_policy_and_how_it_fares(shop: Shop, look: Look) -> None:
    shop.live("event-1")
    shop.events.pause("shop.lonely", duration=3_600.0, by="ada@example.org")

    rows = look("/subscriptions").rows()

    [cook] = [each for each in rows if each.startswith("shop.cook")]
    assert "dramatiq:events · 1.4.2 running order-* kitchen 5 retries, 1.0 s to 10 min 1 0 1 1" in cook
    assert "fastapi-events pause APP shop.cook" in cook
    [lonely] = [each for each in rows if each.startswith("shop.lonely")]
    assert "paused by ada@example.org" in lonely
    assert "fastapi-events resume APP shop.lonely" in lonely


def test_functions_of_one_name_have_the_numbers_of_their_handler(shop: Shop, look: Look) -> None:
    shop.live("event-1")
    shop.mail.register(cook, event_name="order-*", name="shop.cook")
    shop.write(
        *(
            shop.record("event-1", what, subscription="shop.cook", handler="celery:mail")
            for what in ("started", "failed", "started", "failed")
        )
    )

    first, second = (each for each in look("/subscriptions").rows() if each.startswith("shop.cook"))

    assert "dramatiq:events · 1.4.2 running" in first
    assert "10 min 1 0 1 1" in first
    assert second.startswith("shop.cook celery:mail no worker")
    assert "10 min 0 0 0 2" in second


def test_one_state_can_be_chosen(shop: Shop, look: Look) -> None:
    shop.events.pause("shop.cook", by="ada")

    page = look("/subscriptions?state=paused")

    assert [each.split()[0] for each in page.rows()[1:]] == ["shop.cook"]
    assert "None is in this state" in look("/subscriptions?state=failing").text
    assert "expected running, paused, failing" in look("/subscriptions?state=nonsense").text


def test_a_catalogue_that_is_down_leaves_the_functions_of_this_process(
    shop: Shop, look: Look, monkeypatch: object
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("away")

    shop.store.catalogue._read = fail  # type: ignore[method-assign, assignment]

    page = look("/subscriptions")

    assert "The catalogue of dramatiq:events cannot be asked: ConnectionError: away" in page.text
    assert any(each.startswith("shop.cook") for each in page.rows())


def test_where_nobody_listens_it_says_what_to_do(look_without_stores: Look) -> None:
    assert "Register a function on the handler" in look_without_stores("/subscriptions").text
