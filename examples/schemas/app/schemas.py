"""The events of the shop."""

import datetime
from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, Field

from fastapi_events.registry.payload_schema import registry


class OrderEvent(StrEnum):
    PLACED = "order-placed"
    PAID = "order-paid"


@registry.register
class OrderPlaced(BaseModel):
    """Somebody wants something."""

    __event_name__: ClassVar = OrderEvent.PLACED

    number: int
    items: list[str] = Field(min_length=1)
    pay_by: datetime.date


@registry.register(event_name=OrderEvent.PAID)
class OrderPaid(BaseModel):
    """The money is there."""

    number: int
    cents: int = Field(gt=0)
