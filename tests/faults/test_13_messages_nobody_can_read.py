"""Row 13: messages that are not JSON, no envelope, of another version, or for an unknown subscription."""

from __future__ import annotations

from fastapi_events.envelope import seal
from fastapi_events.event import Event
from tests.faults.conftest import Row

FAULT = "messages that nobody can read"

UNREADABLE = ["{", "[1]", '[{"name": "no envelope"}]', '[{"specversion": "9.9", "id": "1", "type": "a"}]']


def test_they_are_kept_with_a_reason_and_the_worker_goes_on(row: Row) -> None:
    # Given messages of other programs among the orders
    shop = row.shop()
    shop.start()
    shop.place(row.events // 2)
    for text in UNREADABLE:
        shop.send(text)
    shop.send(seal(Event("order-placed", {"number": 0, "do": ""}), source="stranger"), task="wrap")
    shop.place(row.events // 2)

    # When all is done, then the orders are handled
    verdict = shop.settle()
    row.record(13, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert shop.restarts == 0

    # And what could not be read is kept, each with its reason
    shop.wait_until(lambda: len(shop.letters()) == len(UNREADABLE) + 1, "a dead letter of each")
    letters = shop.letters()
    assert {letter.subscription for letter in letters} == {"fastapi_events.fan_out", "wrap"}
    assert all(letter.reason for letter in letters)
    assert {letter.argument for letter in letters if letter.subscription != "wrap"} == set(UNREADABLE)
