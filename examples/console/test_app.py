import pytest
from app.events import events
from app.handlers import cook
from app.ops import app as ops
from app.ops import who
from app.web import app
from starlette.testclient import TestClient

from fastapi_events.console import console
from fastapi_events.testing import InlineWorker

OPS = ("ops", "secret")


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_PASSWORD", "secret")


def test_nobody_comes_in_without_the_password() -> None:
    client = TestClient(ops)
    assert client.get("/").status_code == 401
    assert client.get("/", auth=("ops", "guess")).status_code == 401
    assert client.get("/doctor", auth=OPS).status_code == 200


def test_it_shows_what_was_given_up_and_why(worker: InlineWorker) -> None:
    with worker.failing(cook, ConnectionError("no gas")):
        TestClient(app).post("/orders/7")
        worker.run().assert_dead(cook, reason="no gas")
    page = TestClient(console([worker.handler(events)], auth=who)).get("/dead", auth=OPS)
    assert "no gas" in page.text
