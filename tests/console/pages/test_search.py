"""Search."""

from __future__ import annotations

from collections.abc import Callable

from starlette.testclient import TestClient

from fastapi_events.storage.lanes import Item, Lane
from fastapi_events.storage.outbox import Entry
from tests.console.conftest import Page, Shop

Look = Callable[[str], Page]


def test_the_beginning_of_an_id_leads_to_its_event(shop: Shop, client: TestClient) -> None:
    shop.live("abc-1")
    shop.letter(7)

    for word, path in (("abc", "/event/abc-1"), ("event-7", "/event/event-7")):
        answer = client.get(f"/search?q={word}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, path)


def test_several_are_shown(shop: Shop, look: Look) -> None:
    shop.live("abc-1", correlation="req-1")
    shop.live("abc-2", correlation="req-1")

    assert len(look("/search?q=abc").rows()) == 3
    assert "Events with this correlation id" in look("/search?q=req-1").text
    assert "Events of this name" in look("/search?q=order-*").text


def test_an_ordering_key_finds_what_waits_and_what_was_given_up(shop: Shop, look: Look) -> None:
    key = {"ordering_key": "user-7"}
    shop.store.outbox.add([Entry(id="out-1", destination="dramatiq:events", envelope="{}", **key)])
    lane = Lane("dramatiq:events", "shop.cook", "user-7")
    shop.store.lanes.put({lane: [Item(f"lane-{each}", "{}", "kitchen") for each in (1, 2)]})
    for number, of in ((1, "user-7"), (2, "user-70")):
        shop.letter(number, argument=f'{{"specversion":"1.0","partitionkey":"{of}","data":{{}}}}')

    page = look("/search?q=user-7")

    assert "Events with this ordering key" in page.text
    assert {"/event/out-1", "/event/lane-1", "/event/event-1"} <= set(page.links)
    assert "/event/event-2" not in page.links


def test_an_ordering_key_finds_what_was_handled(shop: Shop, look: Look) -> None:
    shop.live("event-1", ordering_key="user-7")
    shop.live("event-2", ordering_key="user-8")
    shop.store.outbox.add(
        [Entry(id="out-1", destination="dramatiq:events", envelope="{}", ordering_key="user-7")]
    )

    page = look("/search?q=user-7")

    assert "Events with this ordering key" in page.text
    assert [each.rpartition("/")[2] for each in page.links if "/event/" in each] == ["out-1", "event-1"]
    assert "/event/event-1" in look("/events/recent?key=user-7").links
    assert "--key user-7" in look("/events/recent?key=user-7").text
    assert "No such events" in look("/events/recent?key=nobody").text


def test_nothing_says_how_things_are_found(look: Look, look_without_stores: Look) -> None:
    assert "An event is found by the beginning of its id" in look("/search?q=nothing").text
    assert "only what outbox, lanes and dead letters hold" in look_without_stores("/search?q=nothing").text
    assert "Type an event's id" in look("/search?q=").text
