"""Row 29: a worker's broker goes away while the worker is at work."""

from __future__ import annotations

import pytest

from tests.faults.conftest import ON_ALL, Row

FAULT = "a worker's broker goes away while it is at work"


@pytest.mark.pairs(ON_ALL)  # each has a way of its own to deliver again what was not acknowledged
def test_the_message_is_handled_all_the_same(row: Row) -> None:
    # Given a worker that holds one message, and has nothing else to do
    shop = row.shop()
    worker = shop.start_worker()
    shop.start_web()
    shop.place(row.events)
    shop.settle()
    [number] = shop.place(1, do="wait")
    shop.wait_until(lambda: ("ship", number) in shop.history.parts("started"), "the start")

    # When its broker goes, and is back
    row.broker.kill()
    row.broker.start()
    shop.open_gate()

    # Then the message is handled, by a worker that has survived
    verdict = shop.settle()
    row.record(29, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert (worker.poll(), shop.restarts) == (None, 0), shop.logs()
