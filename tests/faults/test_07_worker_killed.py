"""Row 7: a worker is killed in the middle of subscriptions."""

from __future__ import annotations

import pytest

from tests.faults.conftest import ON_ALL, PATIENT, Row

FAULT = "worker killed (-9) in the middle of a subscription"


@pytest.mark.pairs(ON_ALL)  # each has a way of its own to deliver again what was not acknowledged
def test_another_worker_gets_what_it_had_begun(row: Row) -> None:
    # Given workers that are busy, one of them with orders that will not end
    shop = row.shop(handler=PATIENT)
    worker = shop.start_worker()
    shop.start_web()
    shop.place(4, do="wait")
    shop.wait_until(
        lambda: {1, 2, 3, 4} <= {number for name, number in shop.history.parts("started") if name == "ship"},
        "the start of four subscriptions",
    )
    shop.place(row.events // 2)

    # When it is killed, and others take its place
    shop.kill(worker)
    shop.open_gate()
    shop.start_worker()
    shop.place(row.events // 2)

    # Then everything is handled
    verdict = shop.settle()
    row.record(7, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.dead == 0
    # and nothing again but what was under way
    assert verdict.duplicates <= 32
