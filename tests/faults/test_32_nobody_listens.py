"""Row 32: events that nobody in the fleet listens to."""

from __future__ import annotations

from tests.faults.conftest import Row
from tests.faults.running import Shop

FAULT = "nobody listens, until a deploy brings the function"


def test_what_nobody_heard_is_told_kept_and_replayed(row: Row) -> None:
    # Given a shop that keeps what nobody listens to
    shop = row.shop(catalogued=True, handler={"unmatched": "keep"})
    shop.start()

    # When events come in that no worker listens to
    shop.history.subscriptions = ("salvage",)
    numbers = range(10_000, 10_000 + row.events)
    for number in numbers:
        shop.post(f"/named?number={number}", "warehouse-burnt-down")
    shop.history.accept(numbers)

    # Then each is kept, and the log says so now and then
    shop.wait_until(lambda: len(shop.letters()) == row.events, "that all are kept")
    assert {each.event_name for each in shop.letters()} == {"warehouse-burnt-down"}
    assert 1 <= shop.logs().count("Nobody listens to event 'warehouse-burnt-down'") <= 10

    # And the deploy that brings a function gets them all
    shop.start_worker(module="salvage")
    shop.wait_until(lambda: _salvages(shop), "the new function's first event")
    target = "tests.faults.shop.events:events"
    shop.output("fastapi_events", "dead", "replay", target, "--event", "warehouse-burnt-down", "--all")
    verdict = shop.settle()
    row.record(32, FAULT, 'unmatched="keep"', verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.handled == row.events
    assert shop.restarts == 0


def _salvages(shop: Shop) -> bool:
    shop.post("/named?number=1", "warehouse-rebuilt")
    return any(subscription == "salvage" for subscription, _ in shop.history.parts("handled"))
