"""The application."""

from fastapi import FastAPI

from fastapi_events.dispatcher import dispatch
from fastapi_events.middleware import EventHandlerASGIMiddleware

from .events import events
from .schemas import OrderForgotten, OrderPlaced

app = FastAPI()
app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])


@app.post("/orders/{number}", status_code=202)
def place_order(number: int) -> str:
    dispatch(OrderPlaced(number=number))
    dispatch(OrderForgotten(number=number), delay=600)
    return "placed"
