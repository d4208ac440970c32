from app.events import celery_app
from app.handlers import bill, cook, count_the_till
from app.tasks import close_shop
from app.web import app
from fastapi.testclient import TestClient

from fastapi_events.testing import InlineWorker

client = TestClient(app)


def test_everybody_hears_of_an_order(worker: InlineWorker) -> None:
    assert client.post("/orders/7").status_code == 202
    run = worker.run()
    run.assert_ran(cook, times=1)
    run.assert_ran(bill, times=1)


def test_one_that_fails_is_tried_again_alone(worker: InlineWorker) -> None:
    client.post("/orders/7")
    with worker.failing(cook, TimeoutError, times=2):
        run = worker.run()
    run.assert_succeeded(cook, attempts=3)
    run.assert_succeeded(bill, attempts=1)


def test_nobody_pays_twice(worker: InlineWorker) -> None:
    with worker.duplicate():
        worker.emit("order-placed", {"number": 7}).assert_ran(bill, times=1)


def test_a_task_of_ones_own_dispatches(worker: InlineWorker) -> None:
    close_shop.apply(throw=True)
    worker.run().assert_ran(count_the_till, times=1)


def test_beat_sends_a_task_that_there_is() -> None:
    for entry in celery_app.conf.beat_schedule.values():
        assert entry["task"] in celery_app.tasks
