"""Row 20: Redis fails over to a replica."""

from __future__ import annotations

from pathlib import Path

from tests.faults.brokers import Valkey
from tests.faults.conftest import Row

FAULT = "Redis fails over to a replica"


def test_what_was_unacknowledged_is_delivered_again(row_on_valkey: Row, tmp_path: Path) -> None:
    # Given a replica, and a name that leads to the first server
    row, first = row_on_valkey, row_on_valkey.broker
    assert isinstance(first, Valkey)
    second = Valkey(tmp_path / "replica")
    try:
        with second.client() as replica:
            replica.replicaof("127.0.0.1", first.port)
            proxy = row.proxy()
            shop = row.shop(through=proxy, handler={"confirm": "handled", "resend_after": 5.0})
            shop.start()
            shop.place(row.events // 2)
            shop.wait_until(
                lambda: replica.info("replication")["master_link_status"] == "up", "the replication"
            )

            # When the first server dies with orders on their way, and the replica takes its place
            shop.place(row.events // 4)
            first.kill()
            shop.place(row.events // 8)
            replica.replicaof("NO", "ONE")
            proxy.lead_to(second.port)
            proxy.cut()
            shop.place(row.events // 8)

            # Then everything is handled
            verdict = shop.settle()
            row.record(20, FAULT, 'outbox, confirm="handled"', verdict)
            assert not verdict.lost, shop.logs()
            assert verdict.strangers == frozenset()
    finally:
        second.close()
