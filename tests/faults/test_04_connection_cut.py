"""Row 4: connections are cut in the middle of flushes, and confirmations lost with them."""

from __future__ import annotations

import threading

from tests.faults.conftest import Row

FAULT = "connection cut in the middle of a flush"


def test_no_event_is_lost_and_duplicates_keep_their_id(row: Row) -> None:
    # Given a network that cuts every connection again and again
    proxy = row.proxy()
    shop = row.shop(through=proxy)
    shop.start()
    over = threading.Event()

    def cut() -> None:
        while not over.wait(0.2):
            proxy.cut()

    cutting = threading.Thread(target=cut)
    cutting.start()

    # When orders come in
    try:
        shop.place(row.events)
    finally:
        over.set()
        cutting.join()

    # Then all are handled; what is handled twice has the same id
    assert shop.failed_requests == 0
    verdict = shop.settle()
    row.record(4, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert (verdict.reported, verdict.renamed) == (0, frozenset())
