"""Row 24: the web process is deployed before the workers, and the other way round."""

from __future__ import annotations

from tests.faults.conftest import Row
from tests.faults.running import Shop

FAULT = "web deployed before workers, and the reverse"


def test_nothing_is_discarded(row: Row) -> None:
    # Given an old worker and one of the next release, which has a subscription more
    shop = row.shop()
    shop.start()
    shop.start_worker(newer=True)

    # When orders come in, and events that no release knows
    shop.place(row.events)
    for number in range(10_000, 10_010):
        shop.post(f"/named?number={number}", "warehouse-burnt-down")

    # Then orders are handled, unknown events counted
    verdict = shop.settle()
    assert not verdict.lost, shop.logs()
    shop.wait_until(
        lambda: {each["number"] for each in shop.history.book("unmatched")} == set(range(10_000, 10_010)),
        "the count of unknown events",
    )

    # And the next release gets to do what only it knows; what an old worker gets of that is kept for it
    row.record(24, FAULT, "outbox", verdict)
    shop.wait_until(lambda: shop.place(10) and _wrapped(shop), "the new subscription's first event")
    assert not shop.settle().lost, shop.logs()
    assert shop.restarts == 0


def _wrapped(shop: Shop) -> bool:
    return any(subscription == "wrap" for subscription, _ in shop.history.parts("handled"))
