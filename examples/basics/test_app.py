from app.handlers import count, send_receipt
from app.web import app
from fastapi.testclient import TestClient

from fastapi_events.testing import DispatchedEvents, InlineWorker

client = TestClient(app)


def test_an_order_is_told_of(events: DispatchedEvents) -> None:
    assert client.post("/orders/7").status_code == 202
    assert events == [("order-placed", {"number": 7})]


def test_both_functions_hear_of_it(worker: InlineWorker) -> None:
    client.post("/orders/7")
    run = worker.run()
    run.assert_ran(send_receipt, times=1)
    run.assert_ran(count, times=1)


def test_nobody_gets_a_receipt_for_what_was_cancelled(worker: InlineWorker) -> None:
    client.delete("/orders/7")
    run = worker.run()
    run.assert_ran(count, times=1)
    run.assert_not_ran(send_receipt)
