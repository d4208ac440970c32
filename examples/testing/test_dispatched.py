from app.schemas import OrderForgotten, OrderPlaced
from fastapi.testclient import TestClient

from fastapi_events.testing import DispatchedEvents


def test_an_order(events: DispatchedEvents, client: TestClient) -> None:
    client.post("/orders/7")
    events.assert_dispatched_once(OrderPlaced, number=7)
    events.assert_dispatched("order-*", where=lambda event: event.payload == {"number": 7})
    events.assert_not_dispatched("order-paid")


def test_a_reminder_ten_minutes_later(events: DispatchedEvents, client: TestClient) -> None:
    client.post("/orders/7")
    assert [event.name for event in events] == ["order-placed", "order-forgotten"]
    reminder = events.assert_dispatched(OrderForgotten)
    assert reminder.due is not None


def test_no_order(events: DispatchedEvents, client: TestClient) -> None:
    assert client.post("/orders/seven").status_code == 422
    events.assert_not_dispatched()
