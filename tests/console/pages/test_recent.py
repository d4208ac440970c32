"""Recent events."""

from __future__ import annotations

from collections.abc import Callable

from tests.console.conftest import Page, Shop

Look = Callable[[str], Page]


def test_events_are_listed_the_latest_first_and_filtered(shop: Shop, look: Look) -> None:
    shop.write(
        shop.record("old", "dispatched", 7_200.0), shop.record("new", "dispatched", 10.0),
        shop.record("gone", "lost", 60.0, event_name="user-registered", error="down"),
    )  # fmt: skip

    assert [each.split()[1] for each in look("/events/recent").rows()[1:]] == ["new", "gone", "old"]
    assert [each.split()[1] for each in look("/events/recent?since=1h").rows()[1:]] == ["new", "gone"]
    assert [each.split()[1] for each in look("/events/recent?outcome=lost").rows()[1:]] == ["gone"]
    assert [each.split()[1] for each in look("/events/recent?name=order-*").rows()[1:]] == ["new", "old"]


def test_what_is_asked_is_said_as_a_command_and_nonsense_is_refused(look: Look) -> None:
    page = look("/events/recent?name=order-*&outcome=failed&since=1h")

    assert "fastapi-events event list APP --name 'order-*' --outcome failed --since 1h" in page.text
    assert "No such events" in page.text
    for nonsense in ("outcome=nonsense", "since=ever", "after=nonsense"):
        refused = look(f"/events/recent?{nonsense}")
        assert refused.status == 400
        assert f"{nonsense.partition('=')[0]}='" in refused.text
    assert look("/outbox?after=nonsense").status == look("/dead/letters?after=nonsense").status == 400


def test_a_journal_that_is_empty_says_how_to_fill_it(look: Look) -> None:
    assert "No events yet" in look("/events/recent").text
    assert "No such events" in look("/events/recent?name=order-*").text


def test_without_a_journal_nobody_remembers(look_without_stores: Look) -> None:
    assert "There is no journal" in look_without_stores("/events/recent").text


def test_older_ones_follow_page_by_page(shop: Shop, look: Look) -> None:
    shop.write(*(shop.record(f"e-{each:03}", ago=float(each)) for each in range(1, 131)))

    page = look("/events/recent?name=order-*")
    [following] = [each for each in page.links if "after=" in each]

    assert len(page.rows()) == 101
    assert [each.split()[1] for each in look(following).rows()[1:]][::29] == ["e-101", "e-130"]
