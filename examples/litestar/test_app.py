from app.handlers import cook
from app.web import app
from litestar.testing import TestClient

from fastapi_events.testing import InlineWorker


def test_an_order_is_cooked(worker: InlineWorker) -> None:
    client = TestClient(app)
    assert client.post("/orders/7").status_code == 202
    worker.run().assert_ran(cook, times=1)
