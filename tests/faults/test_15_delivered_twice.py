"""Row 15: the same message is delivered twice, and twice at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from fastapi_events.envelope import seal
from fastapi_events.event import Event
from tests.faults.conftest import Row

FAULT = "the same message delivered twice, and twice at once"


def test_once_runs_it_once(row: Row) -> None:
    # Given a subscription with once=True, and one without
    shop = row.shop(options={"once": True})
    shop.start_worker()
    numbers = range(1, 51)
    envelopes = [
        seal(Event("order-placed", {"number": number, "do": ""}), source="stranger") for number in numbers
    ]

    # When each message comes four times, two of them at once
    with ThreadPoolExecutor(2) as two:
        for _ in range(2):
            list(two.map(lambda part: shop.send(f"[{','.join(part)}]"), [envelopes, envelopes]))
    shop.history.accept(numbers)

    # Then the first subscription has run once, and the second whenever it was asked to
    verdict = shop.settle()
    shop.wait_until(
        lambda: len([each for each in shop.history.book("handled") if each["subscription"] == "bill"]) == 200,
        "all deliveries",
    )
    row.record(15, FAULT, "once=True beside one without", shop.history.verdict())
    assert not verdict.lost, shop.logs()
    shipped = [each["number"] for each in shop.history.book("handled") if each["subscription"] == "ship"]
    assert sorted(shipped) == list(numbers)
