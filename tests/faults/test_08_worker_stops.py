"""Row 8: a worker is told to stop in the middle of subscriptions."""

from __future__ import annotations

from tests.faults.conftest import PATIENT, Row
from tests.faults.running import PATIENCE_SECONDS

FAULT = "worker stopped (SIGTERM) in the middle of a subscription"


def test_what_it_had_begun_is_finished_or_delivered_again(row: Row) -> None:
    # Given a worker in the middle of two orders, with more behind them
    shop = row.shop(handler=PATIENT)
    worker = shop.start_worker()
    shop.start_web()
    shop.place(2, do="wait")
    shop.wait_until(
        lambda: {1, 2} <= {number for name, number in shop.history.parts("started") if name == "ship"},
        "the start of two subscriptions",
    )
    shop.place(row.events // 2)

    # When it is told to stop, and may finish
    shop.dismiss(worker)
    shop.open_gate()
    worker.wait(PATIENCE_SECONDS)
    shop.start_worker()
    shop.place(row.events // 2)

    # Then everything is handled, and hardly anything again
    verdict = shop.settle()
    row.record(8, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.dead == 0
    assert verdict.duplicates <= 16
