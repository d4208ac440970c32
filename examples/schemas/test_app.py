import datetime

import pytest
from app import handlers
from app.schemas import OrderPaid, OrderPlaced
from app.web import app
from fastapi.testclient import TestClient
from pydantic import ValidationError

from fastapi_events.testing import DispatchedEvents, InlineWorker, check_wire

client = TestClient(app)
ORDER = {"items": ["fish"], "pay_by": "2030-01-31"}


def test_a_model_arrives_with_its_types(worker: InlineWorker) -> None:
    handlers.reminders.clear()
    client.post("/orders/7", json=ORDER)
    worker.run().assert_succeeded(handlers.remind)
    assert handlers.reminders == ["order 7 is to be paid by 31 January"]


def test_a_dict_is_validated_where_it_is_dispatched(events: DispatchedEvents) -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        client.post("/orders/7/payments", json={"cents": 0})
    events.assert_not_dispatched()


def test_a_message_that_fits_no_model_is_given_up_at_once(worker: InlineWorker) -> None:
    run = worker.emit("order-placed", {"number": 7}, validate_payload=False, raise_errors=False)
    run.assert_dead(handlers.remind, reason="InvalidPayload", attempts=1)


def test_messages_that_wait_can_be_read_after_a_change() -> None:
    check_wire(OrderPlaced(number=1, items=["fish"], pay_by=datetime.date(2030, 1, 31)))
    check_wire(OrderPaid(number=1, cents=100))
