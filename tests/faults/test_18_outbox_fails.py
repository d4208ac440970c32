"""Row 18: the outbox's disk is full, its database locked."""

from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy as sa

from tests.faults.conftest import Row
from tests.ports import free_port
from tests.proxy import Proxy
from tests.storage.conftest import postgres_url, schema_of_its_own

FULL = "the outbox's file is full"
LOCKED = "the outbox's database is locked"
GONE = "the outbox's database is gone"

ORDERS = 1_000
"""More than the file of the first test holds."""


def test_what_finds_no_room_is_reported_and_the_rest_drains(one_row: Row) -> None:
    # Given a file that may not grow beyond a few hundred events, and no broker
    row, shop = one_row, one_row.shop(store={"max_page_count": 60})
    shop.start()
    row.broker.kill()

    # When more orders come in than it holds, then each is answered
    assert len(shop.place(ORDERS)) == ORDERS
    assert shop.failed_requests == 0
    shop.wait_until(lambda: shop.history.book("lost"), "the report of a loss")

    # And when the broker is back, what was kept is handled, and the outbox is good again
    row.broker.start()
    shop.wait_until(lambda: not shop.stored(), "the end of the backlog")
    row.broker.kill()
    shop.place(50)
    shop.wait_until(lambda: len(shop.stored()) == 50, "new events in the outbox")
    row.broker.start()
    verdict = shop.settle()
    row.record(18, FULL, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert 0 < verdict.reported < 2 * ORDERS
    assert all("outbox" in each["reason"] for each in shop.history.book("lost"))
    check = sqlite3.connect(shop.folder / "events.db")
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


def test_while_it_is_locked_losses_are_reported_and_then_it_goes_on(one_row: Row) -> None:
    # Given no broker, and a database that another program has locked
    row, shop = one_row, one_row.shop(store={"busy_timeout": 0.5})
    shop.start()
    row.broker.kill()
    other = sqlite3.connect(shop.folder / "events.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    # When orders come in, then each is answered, and reported lost
    assert len(shop.place(row.events // 2)) == row.events // 2
    assert shop.failed_requests == 0
    shop.wait_until(lambda: len(shop.history.book("lost")) >= row.events // 2, "the reports")

    # And when it is free, it keeps what comes
    other.execute("ROLLBACK")
    other.close()
    shop.place(row.events // 2)
    row.broker.start()
    verdict = shop.settle()
    row.record(18, LOCKED, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.reported < 1.5 * row.events  # halves of those while it was away, and what was under way


@pytest.mark.postgres
def test_while_it_is_gone_losses_are_reported_and_then_it_goes_on(one_row: Row) -> None:
    # Given no broker, and a database server that goes as well
    row, server = one_row, sa.make_url(postgres_url())
    with schema_of_its_own() as schema, Proxy(server.port or 5432) as proxy:
        url = server.set(port=proxy.port).update_query_dict({"options": f"-csearch_path={schema}"})
        shop = row.shop(store_url=url.render_as_string(hide_password=False))
        shop.start()
        shop.place(row.events // 4)
        row.broker.kill()
        proxy.lead_to(free_port())
        proxy.cut()

        # When orders come in, then each is answered, and reported lost
        assert len(shop.place(row.events // 2)) == row.events // 2
        assert shop.failed_requests == 0
        shop.wait_until(lambda: len(shop.history.book("lost")) >= row.events // 2, "the reports")

        # And when it is back, it keeps what comes
        proxy.lead_to(server.port or 5432)
        shop.place(row.events // 4)
        row.broker.start()
        verdict = shop.settle()
        row.record(18, GONE, "outbox in PostgreSQL", verdict)
        assert not verdict.lost, shop.logs()
        assert (
            verdict.reported < 1.5 * row.events
        )  # halves of those while it was away, and what was under way
        shop.close()
