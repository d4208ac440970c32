from app.handlers import charge, release, reserve, ship
from app.web import app
from fastapi.testclient import TestClient

from fastapi_events.testing import InlineWorker

client = TestClient(app)


def test_an_order_goes_all_the_way(worker: InlineWorker) -> None:
    client.post("/orders/7", params={"card": "good"})
    run = worker.run()
    for step in (reserve, charge, ship):
        run.assert_ran(step, times=1)
    run.assert_not_ran(release)
    run.assert_nothing_unmatched()


def test_what_was_reserved_is_released(worker: InlineWorker) -> None:
    client.post("/orders/7", params={"card": "stolen"})
    run = worker.run()
    run.assert_ran(release, times=1)
    run.assert_not_ran(ship)


def test_a_step_that_fails_is_tried_again_alone(worker: InlineWorker) -> None:
    with worker.failing(charge, TimeoutError, times=2):
        run = worker.emit("order-placed", {"number": 7, "card": "good"})
    run.assert_succeeded(reserve, attempts=1)
    run.assert_succeeded(charge, attempts=3)
    run.assert_ran(ship, times=1)
    run.assert_dispatched_once("order-paid")


def test_each_event_knows_what_caused_it(worker: InlineWorker) -> None:
    run = worker.emit("order-placed", {"number": 7, "card": "good"})
    placed, reserved, paid = (
        run.assert_dispatched_once(name) for name in ("order-placed", "stock-reserved", "order-paid")
    )
    assert reserved.headers["causationid"] == placed.id
    assert paid.headers["causationid"] == reserved.id
    assert {each.headers["correlationid"] for each in (reserved, paid)} == {placed.id}
