"""The events of the shop."""

from typing import ClassVar

from pydantic import BaseModel, Field

from fastapi_events.registry.payload_schema import registry


@registry.register
class OrderPlaced(BaseModel):
    __event_name__: ClassVar = "order-placed"

    number: int = Field(ge=0)


@registry.register
class OrderForgotten(BaseModel):
    __event_name__: ClassVar = "order-forgotten"

    number: int
