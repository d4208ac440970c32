"""Row 19: the broker is restarted, and its memory is full."""

from __future__ import annotations

from tests.faults.brokers import Valkey
from tests.faults.conftest import Row

FAULT = "broker restarted, with persistence"
FULL = "broker's memory full"


def test_workers_and_publishers_come_back_by_themselves(row: Row) -> None:
    # Given a shop that is busy
    shop = row.shop()
    shop.start()

    # When its broker is killed twice, and started again, while orders come in
    for _ in range(2):
        shop.place(row.events // 4)
        row.broker.kill()
        shop.place(row.events // 8)
        row.broker.start()
        shop.place(row.events // 8)

    # Then everything is handled
    verdict = shop.settle()
    row.record(19, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert (verdict.reported, shop.failed_requests) == (0, 0)


def test_what_a_full_memory_refuses_waits_in_the_outbox(row_on_valkey: Row) -> None:
    row, broker = row_on_valkey, row_on_valkey.broker
    assert isinstance(broker, Valkey)
    shop = row.shop()
    shop.start()
    shop.place(row.events // 4)

    # Given a server that has no room for anything
    with broker.client() as client:
        client.config_set("maxmemory", "1mb")

        # When orders come in
        shop.place(row.events // 2)
        shop.wait_until(lambda: shop.history.book("stored"), "an event in the outbox")

        # And it has room again
        client.config_set("maxmemory", "0")
    shop.place(row.events // 4)

    verdict = shop.settle()
    row.record(19, FULL, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert (verdict.reported, shop.failed_requests) == (0, 0)
