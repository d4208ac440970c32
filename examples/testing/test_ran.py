from typing import Any

from app.handlers import cook, remind
from app.schemas import OrderPlaced
from fastapi.testclient import TestClient

from fastapi_events.testing import InlineWorker


def test_an_order_is_cooked(worker: InlineWorker, client: TestClient, oven: Any) -> None:
    client.post("/orders/7")
    worker.run().assert_ran(cook, times=1)
    assert oven.baked == [7]


def test_it_is_tried_again(worker: InlineWorker) -> None:
    with worker.failing(cook, TimeoutError, times=2):
        run = worker.emit(OrderPlaced(number=7))
    assert run.of(cook).waits == [1.0, 2.0]
    run.assert_succeeded(cook, attempts=3)


def test_it_is_given_up_and_sent_once_more(worker: InlineWorker) -> None:
    with worker.failing(cook, ConnectionError("no gas")):
        worker.emit(OrderPlaced(number=7)).assert_dead(cook, reason="no gas", attempts=6)
    worker.replay().assert_succeeded(cook)


def test_a_reminder_comes_after_ten_minutes(worker: InlineWorker, client: TestClient) -> None:
    client.post("/orders/7")
    worker.run().assert_not_ran(remind)
    worker.advance(minutes=9).assert_not_ran(remind)
    worker.advance(minutes=1).assert_ran(remind)


def test_a_message_that_comes_twice(worker: InlineWorker, oven: Any) -> None:
    with worker.duplicate():
        worker.emit(OrderPlaced(number=7))
    assert oven.baked == [7]


def test_a_broker_that_is_away(worker: InlineWorker, client: TestClient, oven: Any) -> None:
    with worker.broker_down():
        client.post("/orders/7")
    worker.run()
    assert oven.baked == [7]
