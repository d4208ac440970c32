import os

os.environ.setdefault("OPS_PASSWORD", "secret")

from app.events import events
from app.handlers import cook
from app.ops import app as ops
from app.web import app
from starlette.testclient import TestClient

from fastapi_events.console import console
from fastapi_events.testing import InlineWorker


def test_nobody_comes_in_without_the_password() -> None:
    assert TestClient(ops).get("/").status_code == 401
    assert TestClient(ops).get("/", auth=("ops", "guess")).status_code == 401
    assert (
        TestClient(ops).get("/assets/console.css", auth=("ops", os.environ["OPS_PASSWORD"])).status_code
        == 200
    )


def test_it_shows_what_was_given_up_and_why(worker: InlineWorker) -> None:
    with worker.failing(cook, ConnectionError("no gas")):
        TestClient(app).post("/orders/7")
        worker.run().assert_dead(cook, reason="no gas")
    page = TestClient(console([worker.handler(events)])).get("/dead")
    assert page.status_code == 200
    assert "no gas" in page.text
