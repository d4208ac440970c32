"""Row 17: the business transaction is rolled back, a savepoint is, or the commit fails after the response."""

from __future__ import annotations

import threading

from tests.faults.conftest import Row

FAULT = "transaction or savepoint rolled back, commit fails, process killed"


def test_an_event_exists_if_and_only_if_its_transaction_was_committed(row_on_valkey: Row) -> None:
    # Given sales that are committed, rolled back, or in part, or whose commit fails after the response
    row, shop = row_on_valkey, row_on_valkey.shop(sales=True)
    shop.start_worker()
    web = shop.start_web()
    part = row.events // 5
    shop.place(part, path="sales", how="commit")
    # Sessions are committed after their responses, and what is to fail takes the number of the first sale.
    shop.wait_until(lambda: len(shop.sales()) == part, "the first commits")
    shop.place(part, path="sales", how="rollback", status=409, owed=False)
    shop.place(part, path="sales", how="savepoint")
    shop.place(part, path="sales", how="fail", owed=False)
    shop.wait_until(lambda: len(shop.sales()) == 2 * part, "the commits")

    # When the process is killed in the middle of more, and there is another
    clients = threading.Thread(
        target=shop.place, args=(part,), kwargs={"path": "sales", "how": "commit", "owed": False}
    )
    clients.start()
    shop.wait_until(lambda: any(number > 4 * part for number in shop.sales()), "the first of the last sales")
    shop.kill(web)
    clients.join()
    shop.start_web()

    # Then exactly those events are handled whose sale is in the database
    shop.history.accept(shop.sales())
    verdict = shop.settle()
    shop.wait_until(lambda: not shop.stored(), "the end of the outbox")
    row.record(17, FAULT, "transactional outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert {number for _, number in shop.history.parts("handled")} == shop.sales()
    assert len(shop.sales()) >= 2 * part
