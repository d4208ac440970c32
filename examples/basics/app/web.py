"""The application: it says what has happened, and leaves to others what follows."""

from fastapi import FastAPI

from fastapi_events.dispatcher import dispatch
from fastapi_events.middleware import EventHandlerASGIMiddleware

from .handlers import events

app = FastAPI()
app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])


@app.post("/orders/{number}", status_code=202)
async def place_order(number: int) -> str:
    dispatch("order-placed", {"number": number})
    return "placed"


@app.delete("/orders/{number}")
def cancel_order(number: int) -> str:
    dispatch("order-cancelled", {"number": number})
    return "cancelled"
