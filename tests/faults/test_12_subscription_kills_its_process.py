"""Row 12: a subscription ends its process, again and again."""

from __future__ import annotations

from tests.faults.conftest import PATIENT, Row

FAULT = "subscription kills its process again and again"


def test_it_is_given_up_and_the_others_go_on(row: Row) -> None:
    # Given one order among many that no worker survives
    shop = row.shop(pool="prefork", handler=PATIENT)
    shop.start()
    shop.place(row.events // 2)
    [deadly] = shop.place(1, do="exit")
    shop.place(row.events // 2)

    # When the workers are started again whenever they end
    verdict = shop.settle()

    # Then the deadly one is dead after its deliveries, and nothing else
    row.record(12, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert shop.history.parts("dead") == {("ship", deadly)}
    # Each copy of its message is delivered three times, on Redis once more. There may be two copies: a worker
    # that died of the first may have had its fan-out in hand, too, which was then made again.
    starts = [each for each in shop.history.book("started") if each["number"] == deadly]
    assert len([each for each in starts if each["subscription"] == "ship"]) <= 2 * 4
