"""Row 36: the engine itself drops a message, since the function tells it to."""

from __future__ import annotations

from tests.faults.conftest import PATIENT, Row

FAULT = "the engine drops messages"
DROPPED = 4


def test_what_it_drops_is_a_dead_letter_and_nobody_waits_for_it(row: Row) -> None:
    shop = row.shop(handler={"confirm": "handled", **PATIENT})
    shop.start()

    shop.place(row.events - DROPPED)
    shop.place(DROPPED, do="drop")

    # Then it is given up at once, with its reason
    verdict = shop.settle()
    row.record(36, FAULT, 'outbox, confirm="handled"', verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.dead == DROPPED
    reason = "Ignore" if row.engine == "celery" else "SkipMessage: not today"
    assert all(each["reason"].startswith(reason) for each in shop.history.book("dead"))
    assert len(shop.letters()) == DROPPED

    # And the outbox has its receipts
    shop.wait_until(lambda: shop.stored() == [], "the last receipt")
    assert shop.restarts == 0
