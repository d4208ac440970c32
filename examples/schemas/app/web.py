"""The application: what does not fit its model is refused on the line that dispatches it."""

import datetime
from typing import Annotated

from fastapi import Body, FastAPI

from fastapi_events.dispatcher import dispatch
from fastapi_events.middleware import EventHandlerASGIMiddleware

from .events import events
from .schemas import OrderEvent, OrderPlaced

app = FastAPI()
app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])


@app.post("/orders/{number}", status_code=202)
def place_order(
    number: int, items: Annotated[list[str], Body()], pay_by: Annotated[datetime.date, Body()]
) -> str:
    dispatch(OrderPlaced(number=number, items=items, pay_by=pay_by))
    return "placed"


@app.post("/orders/{number}/payments", status_code=202)
def pay(number: int, cents: Annotated[int, Body(embed=True)]) -> str:
    dispatch(OrderEvent.PAID, {"number": number, "cents": cents})  # validated as OrderPaid
    return "paid"
