"""Row 5: the web process is killed after the response, before the flush."""

from __future__ import annotations

import threading

from tests.faults.conftest import Row

FAULT = "web process killed (-9) after the response, before the flush"


def test_written_ahead_nothing_is_lost(row: Row) -> None:
    # Given flushes that wait for a broker that hangs
    shop = row.shop(handler={"durability": "response"})
    shop.start_worker()
    web = shop.start_web()
    row.broker.freeze()
    shop.place(row.events // 2)

    # When the process is killed, and the next one too, in the middle of its traffic
    shop.kill(web)
    row.broker.thaw()
    web = shop.start_web()
    clients = threading.Thread(target=shop.place, args=(row.events // 2,))
    clients.start()
    shop.wait_until(
        lambda: any(number > row.events // 2 for _, number in shop.history.parts("handled")), "the traffic"
    )
    shop.kill(web)
    clients.join()

    # Then whatever a client has read the response of is handled
    shop.start_web()
    verdict = shop.settle()
    row.record(5, FAULT, 'durability="response"', verdict)
    assert not verdict.lost, shop.logs()
    assert (verdict.reported, verdict.renamed) == (0, frozenset())


def test_otherwise_what_was_in_its_memory_is_lost(one_row: Row) -> None:
    # Given a process that keeps events only if the broker refuses them, and a broker that hangs
    row, shop = one_row, one_row.shop(handler={"flush_deadline": 5.0})
    shop.start_worker()
    web = shop.start_web()
    shop.place(row.events // 2)
    assert not shop.settle().lost
    row.broker.freeze()
    shop.place(20)

    # When it is killed
    shop.kill(web)
    row.broker.thaw()
    shop.start_web()
    shop.place(row.events // 2)

    # Then those events may be gone, and no others
    shop.wait_until(
        lambda: not any(number not in range(row.events // 2 + 1, row.events // 2 + 21)
                        for _, number in shop.history.open()),
        "the handling of all others",
    )  # fmt: skip
    row.record(5, FAULT, 'durability="flush"', shop.history.verdict())
