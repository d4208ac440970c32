"""The application."""

from fastapi import FastAPI

from fastapi_events.dispatcher import dispatch
from fastapi_events.middleware import EventHandlerASGIMiddleware

from .events import events

app = FastAPI()
app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])


@app.post("/orders/{number}", status_code=202)
def place_order(number: int) -> str:
    dispatch("order-placed", {"number": number})
    return "placed"
