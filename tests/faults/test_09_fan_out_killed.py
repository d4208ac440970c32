"""Row 9: a worker is killed between the first and the last message that fan-out enqueues."""

from __future__ import annotations

from tests.faults.conftest import Row

FAULT = "worker killed between fan-out's first and last enqueue"


def test_every_subscription_gets_its_event(row: Row) -> None:
    # Given a worker that dies between two messages of a fan-out, once
    shop = row.shop(dies_in_fan_out=True)
    shop.start()

    # When orders come in
    shop.place(row.events)
    verdict = shop.settle()

    # Then every subscription has got every one, and again only what was under way, under the same id
    row.record(9, FAULT, "outbox", verdict)
    assert shop.restarts == 1
    assert not verdict.lost, shop.logs()
    assert (verdict.dead, verdict.renamed) == (0, frozenset())
    assert verdict.duplicates <= 500
