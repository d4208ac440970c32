"""What the workers run."""

from fastapi_events.typing import Event

from .events import events
from .schemas import OrderEvent, OrderPaid, OrderPlaced

reminders: list[str] = []


@events.register(OrderPlaced)
def remind(order: OrderPlaced) -> None:
    """The date, which travelled as text, is a date again."""
    reminders.append(f"order {order.number} is to be paid by {order.pay_by:%d %B}")


@events.register(event_name=OrderEvent.PAID)
def book(payment: OrderPaid, event: Event) -> None:
    """An annotation asks for the model as well; a parameter `Event` gets the event beside it."""
    reminders.append(f"{payment.cents} cents, {event.name}")
