"""Row 31: workers of one handler that have other functions than each other."""

from __future__ import annotations

from tests.faults.conftest import Row
from tests.faults.running import Shop

FAULT = "unlike workers, one kind killed under traffic"


def test_each_function_gets_every_event(row: Row) -> None:
    # Given two kinds of workers on one queue, which know of each other
    shop = row.shop(catalogued=True)
    shop.start()
    wrapping = shop.start_worker(module="wrapping")
    shop.wait_until(lambda: shop.place(1, owed=False) and _wrapped(shop), "the other kind's first event")

    # When orders come in, also while there is no worker of one kind
    shop.history.subscriptions = ("ship", "bill", "wrap")
    shop.place(row.events // 2)
    shop.kill(wrapping)
    shop.place(row.events - row.events // 2)
    shop.start_worker(module="wrapping")

    # Then each function handles every one of them, and nothing is given up
    verdict = shop.settle()
    row.record(31, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.handled == 3 * row.events
    assert verdict.dead == 0
    assert shop.restarts == 0


def _wrapped(shop: Shop) -> bool:
    return any(subscription == "wrap" for subscription, _ in shop.history.parts("handled"))
