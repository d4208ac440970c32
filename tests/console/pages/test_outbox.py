"""Outbox."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from fastapi_events.storage.outbox import Entry
from tests.console.conftest import Page, Shop

Look = Callable[[str], Page]


def entry(number: int, **more: object) -> Entry:
    text = (
        f'{{"specversion":"1.0","id":"e-{number}","source":"s","type":"order","data":{{}},'
        '"time":"2026-01-01T00:00:00Z"}'
    )
    return Entry(id=f"e-{number}", destination="dramatiq:events", envelope=text, **more)  # type: ignore[arg-type]


def test_what_waits_and_what_is_to_be_sent_later(shop: Shop, look: Look) -> None:
    later = datetime.now(UTC) + timedelta(hours=5)
    broken = Entry(id="broken", destination="celery:mail", envelope="{")
    shop.store.outbox.add([entry(1, ordering_key="user-7"), entry(2, due=later), broken])

    page = look("/outbox")

    assert "waiting 3 being published 0 unconfirmed 0" in page.text
    now, scheduled, unread = page.rows()[1:]
    assert now.startswith("order e-1 waiting now")
    assert "dramatiq:events user-7" in now
    assert now.endswith("fastapi-events outbox discard APP e-1 Copy")
    assert scheduled.startswith("order e-2 scheduled in 5 h")
    assert unread.startswith("? broken waiting now")


def test_long_ones_go_page_by_page(shop: Shop, look: Look) -> None:
    shop.store.outbox.add([entry(each) for each in range(150)])

    page = look("/outbox")
    [following] = [each for each in page.links if "after=" in each]

    assert len(page.rows()) == 101
    assert [each.split()[1] for each in look(following).rows()[1:3]] == ["e-100", "e-101"]


def test_an_empty_one_and_none_say_so(look: Look, look_without_stores: Look) -> None:
    assert "The outbox is empty" in look("/outbox").text
    assert "No handler has an outbox" in look_without_stores("/outbox").text
