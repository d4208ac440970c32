"""Row 20: Redis fails over to a replica, and whatever else takes the place of a broker that has died."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.brokers import RabbitMQ, Valkey
from tests.faults.conftest import ON_ALL, Row
from tests.faults.running import PATIENCE_SECONDS, Shop
from tests.sentinel import MASTER, Servers

FAULT = "Redis fails over to a replica"
BY_SENTINEL = "Sentinel makes a replica the master"
ANOTHER = "the first of several brokers goes away for good"

KEPT = {"confirm": "handled", "resend_after": 5.0}
"""What has died with a server has to be sent again."""

_PORTIONS = 8


def under_traffic(shop: Shop, events: int, fault: Callable[[], None]) -> None:
    """Let a fault happen while orders are placed without a break."""
    flowing = threading.Event()

    def customers() -> None:
        for _ in range(_PORTIONS):
            shop.place(events // _PORTIONS)
            flowing.set()

    traffic = threading.Thread(target=customers)
    traffic.start()
    assert flowing.wait(PATIENCE_SECONDS)
    fault()
    traffic.join()


def test_what_was_unacknowledged_is_delivered_again(row_on_valkey: Row, tmp_path: Path) -> None:
    # Given a replica, and a name that leads to the first server
    row, first = row_on_valkey, row_on_valkey.broker
    assert isinstance(first, Valkey)
    second = Valkey(tmp_path / "replica")
    try:
        with second.client() as replica:
            replica.replicaof("127.0.0.1", first.port)
            proxy = row.proxy()
            shop = row.shop(through=proxy, handler=KEPT)
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
            assert verdict.renamed == frozenset()
    finally:
        second.close()


def test_sentinel_leads_web_process_and_worker_to_the_next_master(row_on_valkey: Row, tmp_path: Path) -> None:
    row = row_on_valkey
    (tmp_path / "servers").mkdir()
    with ExitStack() as stack:
        # Given a master that all ask Sentinel for
        servers = Servers(tmp_path / "servers", stack)
        shop = row.shop(
            broker_url=f"sentinel://127.0.0.1:{servers.sentinel}/0",
            transport_options={"master_name": MASTER},
            handler=KEPT,
        )
        shop.start()
        shop.place(row.events // 4)

        # When it dies, under traffic that does not stop
        under_traffic(shop, row.events // 2, servers.kill_master)
        shop.wait_until(servers.has_failed_over, "another master")
        shop.place(row.events // 4)

        # Then everything is handled, and nobody had to be started again
        verdict = shop.settle()
        row.record(20, BY_SENTINEL, 'outbox, confirm="handled"', verdict)
        assert not verdict.lost, shop.logs()
        assert shop.restarts == 0, shop.logs()
        with servers.client(servers.replica) as replica:
            assert replica.info()["role"] == "master"


@pytest.mark.pairs(ON_ALL[1:])  # Dramatiq has a list of brokers on RabbitMQ only
def test_all_go_on_with_the_next_of_several_brokers(
    row: Row, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first = row.proxy()
    with ExitStack() as stack:
        # Given two brokers
        second: Valkey | RabbitMQ
        if row.broker.name == "rabbitmq":
            second = next(request.getfixturevalue("hosts"))
        else:
            second = Valkey(tmp_path / "second")
        stack.callback(second.close)
        shop = row.shop(broker_url=[row.broker.url_through(first.port), second.url], handler=KEPT)
        shop.start()
        shop.place(row.events // 4)

        # When the first goes away for good, under traffic that does not stop
        under_traffic(shop, row.events // 2, first.end)
        shop.place(row.events // 4)

        # Then everything is handled, by the second where the first had not told
        verdict = shop.settle()
        row.record(20, ANOTHER, 'outbox, confirm="handled"', verdict)
        assert not verdict.lost, shop.logs()
        assert shop.restarts == 0, shop.logs()
