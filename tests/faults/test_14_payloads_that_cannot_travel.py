"""Row 14: payloads that cannot travel, or are too large."""

from __future__ import annotations

from tests.faults.conftest import Row

FAULT = "payload that cannot travel, or over the size limit"


def test_the_caller_hears_of_it_and_the_others_are_delivered(row: Row) -> None:
    # Given requests that dispatch good events around bad ones
    shop = row.shop()
    shop.start()
    for number in range(1, 11, 2):
        refusals = shop.post(f"/odd/{number}")
        shop.history.accept([number, number + 1])

        # Then each bad one is refused at the line that dispatched it, by name and place
        assert len(refusals) == 5
        assert all("order-placed" in text for text in refusals)
        assert all("items[0].note" in text or "payload" in text for text in refusals)

    # And the good ones arrive
    verdict = shop.settle()
    row.record(14, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.reported == 0
