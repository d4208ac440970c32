"""One event."""

from __future__ import annotations

from collections.abc import Callable

from fastapi_events.storage.lanes import Item, Lane
from fastapi_events.storage.outbox import Entry
from tests.console.conftest import Page, Shop

Look = Callable[[str], Page]


def test_it_is_followed_from_the_request_to_the_children_of_its_functions(shop: Shop, look: Look) -> None:
    shop.live("parent", correlation="req-1")
    shop.live("child", correlation="req-1", cause="parent", event_name="order-paid")

    page = look("/event/parent")

    assert "request req-1" in page.text
    assert "shop.cook succeeded queue kitchen" in page.text
    assert "attempt 1 web-1:211" in page.text
    assert "took 500 ms ValueError: no fish , then waited 2.0 s" in page.text
    assert "/event/child" in page.links
    assert '"fish": 2' in page.text
    assert "caused by order-placed retried, succeeded" in look("/event/child").text


def test_functions_of_one_name_of_two_handlers_have_a_fate_each(shop: Shop, look: Look) -> None:
    for handler, process in (("dramatiq:events", "one:1"), ("celery:mail", "two:2")):
        at = {"handler": handler, "subscription": "shop.cook", "process": process}
        shop.write(
            shop.record("event-1", "fanned_out", 9.0, handler=handler, to=("shop.cook",)),
            shop.record("event-1", "started", 8.0, **at),
            shop.record("event-1", "succeeded", 7.0, duration=1.0, **at),
        )

    page = look("/event/event-1")

    assert "shop.cook succeeded dramatiq:events" in page.text
    assert "shop.cook succeeded celery:mail" in page.text
    assert page.text.count("attempt 1") == 4  # in the tree and along time
    assert "attempt 2" not in page.text


def test_its_ordering_key_leads_to_the_events_that_share_it(shop: Shop, look: Look) -> None:
    shop.live("event-1", ordering_key="user/7")

    page = look("/event/event-1")

    assert "Ordering key user/7" in page.text
    assert "/events/recent?key=user%2F7" in page.links


def test_its_attempts_stand_along_time(shop: Shop, look: Look) -> None:
    shop.live("event-1")

    source = look("/event/event-1").source

    assert 'class="mark-bad"' in source
    assert "<title>attempt 2 succeeded, 200 ms</title>" in source
    assert "<title>waits 2.0 s</title>" in source


def test_what_a_store_holds_is_found_without_a_journal(shop: Shop, look: Look) -> None:
    text = (
        '{"specversion":"1.0","id":"out-1","type":"order","data":{"card":"4111"},"sensitive":"card",'
        '"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}'
    )
    shop.store.outbox.add([Entry(id="out-1", destination="dramatiq:events", envelope=text)])
    shop.store.lanes.put({Lane("dramatiq:events", "shop.cook", "user-7"): [Item("lane-1", text, "kitchen")]})

    page, in_lane = look("/event/out-1"), look("/event/lane-1")

    assert "Now in the outbox, for dramatiq:events" in page.text
    assert "The journal does not know of this event" in page.text
    assert "4111" not in page.source
    assert "Trace 4bf92f3577b34da6a3ce929d0e0e4736" in page.text
    assert "Now in the lane of 'user-7', as the first, for shop.cook" in in_lane.text


def test_a_letter_leads_to_its_event_and_back(shop: Shop, look: Look) -> None:
    shop.letter(1)

    page = look("/event/event-1")

    assert "Now dead letter letter-1 of shop.cook: ValueError: no fish" in page.text
    assert "/dead/letters?event=order-placed" in page.links


def test_one_that_is_nowhere_says_who_would_know(look: Look, look_without_stores: Look) -> None:
    assert look("/event/nothing").status == 404
    assert "It is in no journal, outbox, lane" in look("/event/nothing").text
    assert "only a journal can tell" in look_without_stores("/event/nothing").text


def test_a_store_that_fails_leaves_what_the_journal_knows(shop: Shop, look: Look) -> None:
    shop.live("event-1")

    def fail(**_: object) -> None:
        raise ConnectionError("away")

    shop.store.outbox.list = fail  # type: ignore[method-assign, assignment]

    page = look("/event/event-1")

    assert "A store cannot be asked: ConnectionError: away" in page.text
    assert "attempt 2" in page.text


def test_nothing_of_a_payload_is_markup(shop: Shop, look: Look) -> None:
    shop.write(shop.record("evil", payload='{"a":"<img src=x>"}', event_name="<b>order</b>"))

    source = look("/event/evil").source

    assert "<img" not in source
    assert "<b>order</b>" not in source


def test_it_can_be_tried_again_elsewhere(shop: Shop, look: Look) -> None:
    shop.live("event-1")

    page = look("/event/event-1")

    assert "fastapi-events emit APP order-placed '{\"fish\":2}'" in page.text
    assert "run = worker.emit('order-placed', {'fish': 2})" in page.text
    assert "content-type: application/cloudevents+json" in page.text
