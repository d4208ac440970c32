"""Row 6: the web process is told to stop while flushes wait for the broker."""

from __future__ import annotations

import signal

from tests.faults.conftest import Row
from tests.faults.running import PATIENCE_SECONDS

FAULT = "web process stopped (SIGTERM) with flushes pending"


def test_with_an_outbox_what_waits_is_kept_for_the_next_process(row: Row) -> None:
    # Given flushes that wait for a broker that hangs
    shop = row.shop(handler={"flush_deadline": 3.0})
    shop.start_worker()
    web = shop.start_web()
    shop.place(row.events // 2)
    row.broker.freeze()
    shop.place(row.events // 2)

    # When the process is told to stop, then it does
    web.send_signal(signal.SIGTERM)
    web.wait(PATIENCE_SECONDS)

    # And the next one delivers what it left
    row.broker.thaw()
    shop.start_web()
    verdict = shop.settle()
    row.record(6, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.reported == 0


def test_without_an_outbox_what_is_not_delivered_is_reported(row: Row) -> None:
    shop = row.shop(outbox=False, handler={"flush_deadline": 3.0})
    shop.start_worker()
    web = shop.start_web()
    shop.place(row.events // 2)
    assert not shop.settle().lost  # what a worker has in hand is another row's affair
    row.broker.freeze()
    shop.place(row.events // 2)

    web.send_signal(signal.SIGTERM)
    web.wait(PATIENCE_SECONDS)
    row.broker.thaw()

    verdict = shop.settle()
    row.record(6, FAULT, "no outbox", verdict)
    assert not verdict.lost, shop.logs()
