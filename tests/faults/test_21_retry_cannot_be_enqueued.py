"""Row 21: a subscription fails while the broker is away, so that its retry cannot be enqueued."""

from __future__ import annotations

import pytest

from tests.faults.conftest import ON_ALL, Row

FAULT = "retry cannot be enqueued"


@pytest.mark.pairs(ON_ALL)  # each has a way of its own to deliver again what was not acknowledged
def test_the_message_is_not_acknowledged_away(row: Row) -> None:
    # Given subscriptions in the middle of their work, which are about to fail
    shop = row.shop()
    shop.start()
    shop.place(row.events - 4)
    shop.place(4, do="wait-and-raise-once")
    last = range(row.events - 3, row.events + 1)
    shop.wait_until(
        lambda: {("ship", number) for number in last} <= shop.history.parts("started"),
        "the start of the subscriptions",
    )

    # When the broker is away as they fail
    row.broker.kill()
    shop.open_gate()
    shop.wait_until(lambda: shop.history.book("failing"), "the failure")
    row.broker.start()

    # Then they run again, and succeed
    verdict = shop.settle()
    row.record(21, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.dead == 0
