"""Row 2: the broker accepts connections, and never answers."""

from __future__ import annotations

from tests.faults.conftest import Row

FAULT = "broker accepts and never answers"


def test_with_an_outbox_nothing_is_lost(row: Row) -> None:
    # Given a broker that hangs in the middle of its work
    shop = row.shop()
    shop.start()
    shop.place(row.events // 4)
    row.broker.freeze()

    # When orders come in, then each is answered: no client waits for the broker
    assert len(shop.place(row.events // 2)) == row.events // 2
    assert shop.failed_requests == 0

    # And when it goes on, after the deadline of flushes
    shop.wait_until(lambda: shop.history.book("stored"), "an event in the outbox")
    row.broker.thaw()
    shop.place(row.events // 4)

    # Then everything is handled; what it had taken without saying so may be handled twice
    verdict = shop.settle()
    row.record(2, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert (verdict.reported, verdict.renamed) == (0, frozenset())


def test_without_an_outbox_what_is_lost_is_reported(row: Row) -> None:
    shop = row.shop(outbox=False)
    shop.start()
    shop.place(row.events // 4)
    assert not shop.settle().lost  # what a worker has in hand is another row's affair
    row.broker.freeze()

    assert len(shop.place(row.events // 2)) == row.events // 2
    assert shop.failed_requests == 0
    shop.wait_until(lambda: shop.history.book("lost"), "the report of a loss")
    row.broker.thaw()
    shop.place(row.events // 4)

    verdict = shop.settle()
    row.record(2, FAULT, "no outbox", verdict)
    assert not verdict.lost, shop.logs()
