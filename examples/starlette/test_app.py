from app.handlers import cook
from app.web import app
from starlette.testclient import TestClient

from fastapi_events.testing import InlineWorker

client = TestClient(app)


def test_a_route(worker: InlineWorker) -> None:
    assert client.post("/orders/7").status_code == 202
    worker.run().assert_ran(cook, times=1)


def test_a_websocket_that_stays_open(worker: InlineWorker) -> None:
    with client.websocket_connect("/counter") as websocket:
        for number in ("1", "2"):
            websocket.send_text(number)
            assert websocket.receive_text() == "placed"
        cooked = worker.run().of(cook).times
        assert cooked >= 1  # the application has asked for the second since
    assert cooked + worker.run().of(cook).times == 2
