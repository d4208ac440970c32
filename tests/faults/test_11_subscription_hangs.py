"""Row 11: a subscription hangs."""

from __future__ import annotations

from tests.faults.conftest import Row

FAULT = "subscription hangs"


def test_its_time_limit_ends_it_and_counts_as_a_failure(row: Row) -> None:
    # Given a subscription with a time limit of its engine's
    options = {"time_limit": 1_000} if row.engine == "dramatiq" else {"soft_time_limit": 1}
    shop = row.shop(options=options)
    shop.start()
    shop.place(row.events // 2)

    # When it hangs for one order
    [hanging] = shop.place(1, do="hang")
    shop.place(row.events // 2)

    # Then it is given up after its attempts, and the others are handled
    verdict = shop.settle()
    row.record(11, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert shop.history.parts("dead") == {("ship", hanging)}
    assert {each["attempts"] for each in shop.history.book("dead")} == {3}
