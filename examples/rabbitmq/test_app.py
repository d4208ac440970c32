from app.events import events as handler
from app.handlers import cook, remind
from app.web import app
from fastapi.testclient import TestClient

from fastapi_events.testing import InlineWorker

client = TestClient(app)


def test_an_order_is_cooked(worker: InlineWorker) -> None:
    client.post("/orders/7")
    worker.run().assert_ran(cook, times=1)


def test_what_rabbitmq_cannot_hold_waits_in_the_outbox(worker: InlineWorker) -> None:
    assert handler.longest_delay < 86_400
    client.post("/orders/7/reminders")
    worker.advance(hours=23).assert_not_ran(remind)
    worker.advance(hours=1).assert_ran(remind, times=1)
