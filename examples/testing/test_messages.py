from app.events import events
from app.handlers import cook
from app.schemas import OrderForgotten, OrderPlaced
from hypothesis import given, settings

from fastapi_events.testing import InlineWorker, check_wire
from fastapi_events.testing.strategies import payloads


def test_messages_that_wait_can_be_read_after_a_change() -> None:
    """Commit the folder `wire`, which the first run makes."""
    check_wire(OrderPlaced)
    check_wire(OrderForgotten)


@settings(max_examples=10, deadline=None)
@given(payloads(OrderPlaced))
def test_any_order_is_cooked(order: OrderPlaced) -> None:
    with InlineWorker(events) as worker:
        worker.emit(order).assert_succeeded(cook)
