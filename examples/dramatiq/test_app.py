from app.handlers import bill, cook, report
from app.web import app
from fastapi.testclient import TestClient

from fastapi_events.testing import InlineWorker

client = TestClient(app)


def test_everybody_hears_of_an_order(worker: InlineWorker) -> None:
    assert client.post("/orders/7").status_code == 202
    run = worker.run()
    for function in (cook, bill, report):
        run.assert_ran(function, times=1)


def test_one_that_fails_is_tried_again_alone(worker: InlineWorker) -> None:
    client.post("/orders/7")
    with worker.failing(cook, TimeoutError, times=2):
        run = worker.run()
    run.assert_succeeded(cook, attempts=3)
    run.assert_succeeded(bill, attempts=1)
    assert run.of(cook).waits == [1.0, 2.0]


def test_what_is_given_up_can_be_sent_once_more(worker: InlineWorker) -> None:
    with worker.failing(cook, ConnectionError("no gas")):
        worker.emit("order-placed", {"number": 7}).assert_dead(cook, reason="no gas", attempts=4)
    worker.replay().assert_succeeded(cook)


def test_what_cannot_be_mended_is_given_up_at_once(worker: InlineWorker) -> None:
    run = worker.emit("order-placed", {"number": 13}, raise_errors=False)
    run.assert_dead(cook, reason="LookupError", attempts=1)
    run.assert_succeeded(bill)


def test_nobody_pays_twice(worker: InlineWorker) -> None:
    with worker.duplicate():
        worker.emit("order-placed", {"number": 7}).assert_ran(bill, times=1)


def test_an_outage_loses_nothing(worker: InlineWorker) -> None:
    with worker.broker_down():
        assert client.post("/orders/7").status_code == 202
    worker.run().assert_ran(cook, times=1)
