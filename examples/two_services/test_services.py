from fastapi.testclient import TestClient
from kitchen import events as kitchen
from kitchen.handlers import cook
from shop import events as shop
from shop.handlers import send_receipt, serve
from shop.web import app

from fastapi_events.testing import InlineWorker


def test_an_order_goes_to_the_kitchen_and_comes_back() -> None:
    with InlineWorker(shop.events, shop.to_kitchen, kitchen.events, kitchen.to_shop) as worker:
        TestClient(app).post("/orders/7")
        run = worker.run()
    run.assert_ran(send_receipt, times=1)
    run.assert_ran(cook, times=1)
    run.assert_ran(serve, times=1)


def test_what_the_kitchen_cannot_do_now_is_none_of_the_shops_business() -> None:
    services = InlineWorker(shop.events, shop.to_kitchen, kitchen.events, kitchen.to_shop)
    with services as worker, worker.failing(cook, TimeoutError, times=1):
        TestClient(app).post("/orders/7")
        run = worker.run()
    run.assert_succeeded(send_receipt, attempts=1)
    run.assert_succeeded(cook, attempts=2)
    run.assert_ran(serve, times=1)
