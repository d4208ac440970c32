"""Row 16: two relays at once, one killed between publishing and marking."""

from __future__ import annotations

from tests.faults.conftest import Row
from tests.faults.running import PATIENCE_SECONDS

AGES = 120.0
"""Seconds after which nobody holds an event any more that they have not come back to."""

FAULT = "two relays at once; one killed between publish and mark"


def test_each_event_arrives_at_least_once(row: Row) -> None:
    # Given an outbox full of events, since the broker was away
    shop = row.shop(handler={"relay": False}, clock=True)
    web = shop.start_web()
    row.broker.kill()
    shop.place(row.events)
    shop.wait_until(lambda: len(shop.stored()) == row.events, "all events in the outbox")
    shop.kill(web)
    shop.forward(AGES)  # it may have been about to publish some of them itself
    row.broker.start()

    # When a relay dies after publishing a batch, before it has said so
    doomed = shop.start_relay(FASTAPI_EVENTS_CRASH_AT="relay.after_publish")
    assert doomed.wait(PATIENCE_SECONDS) == 137

    # And two others go on at once
    shop.start_relay()
    shop.start_relay()
    shop.start_worker()

    # Then everything is handled
    assert not shop.settle().lost, shop.logs()

    # And that batch goes once more when its lease has run out; it may be handled twice, under the same ids
    shop.wait_until(lambda: len(shop.stored()) <= 500, "the end of all other batches")
    shop.forward(AGES)
    shop.wait_until(lambda: not shop.stored(), "the end of the outbox")
    verdict = shop.settle()
    row.record(16, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.renamed == frozenset()
    assert verdict.duplicates <= 2 * 500
