"""The application: it imports no function."""

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


@app.post("/orders/{number}/reminders", status_code=202)
def remind_tomorrow(number: int) -> str:
    """A day is longer than RabbitMQ lets a worker hold a message: the outbox holds this one."""
    dispatch("order-forgotten", {"number": number}, delay=86_400)
    return "reminded"
