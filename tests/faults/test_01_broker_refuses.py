"""Row 1: the broker refuses connections when events are flushed."""

from __future__ import annotations

from tests.faults.conftest import Row

FAULT = "broker refuses connections at flush"


def test_with_an_outbox_nothing_is_lost(row: Row) -> None:
    # Given a shop whose broker has gone
    shop = row.shop()
    shop.start()
    shop.place(row.events // 4)
    row.broker.kill()

    # When orders come in all the same, then every one is answered
    assert len(shop.place(row.events // 2)) == row.events // 2
    assert shop.failed_requests == 0

    # And when the broker is back
    row.broker.start()
    shop.place(row.events // 4)

    # Then everything is handled
    verdict = shop.settle()
    row.record(1, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert (verdict.reported, verdict.renamed) == (0, frozenset())


def test_without_an_outbox_what_is_lost_is_reported(row: Row) -> None:
    shop = row.shop(outbox=False)
    shop.start()
    shop.place(row.events // 4)
    assert not shop.settle().lost  # what a worker has in hand is another row's affair
    row.broker.kill()

    assert len(shop.place(row.events // 2)) == row.events // 2
    row.broker.start()
    shop.place(row.events // 4)

    verdict = shop.settle()
    row.record(1, FAULT, "no outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.reported > 0
