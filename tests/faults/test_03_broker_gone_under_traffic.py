"""Row 3: the broker is gone for a while under traffic, and comes back."""

from __future__ import annotations

from fastapi_events import codec
from tests.faults.conftest import Row

FAULT = "broker gone under traffic, then back"

_BOUND_BYTES = 96 * 2**20


def test_the_backlog_waits_in_the_outbox_in_order_and_drains_beside_new_traffic(row: Row) -> None:
    # Given a broker that goes while orders come in
    shop = row.shop()
    shop.start()
    shop.place(row.events // 4)
    before = shop.state()["resident"]
    row.broker.kill()

    # When clients go on, several events a request
    batches = [shop.place_batch(row.events // 20) for _ in range(5)]
    shop.place(row.events // 4)

    # Then the process does not hold them, and the outbox has those of each request in their order
    assert shop.state()["resident"] - before < _BOUND_BYTES
    shop.wait_until(lambda: len(shop.stored()) >= row.events // 2, "the backlog in the outbox")
    numbers = [codec.decode(entry.envelope)["data"]["number"] for entry in shop.stored()]
    for batch in batches:
        assert [each for each in numbers if each in batch] == list(batch)

    # When it is back, new orders come in before the backlog has gone
    row.broker.start()
    shop.place(row.events // 4)

    # Then everything is handled
    verdict = shop.settle()
    row.record(3, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.reported == 0
    shop.wait_until(lambda: not shop.stored(), "the end of the backlog")
