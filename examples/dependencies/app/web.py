"""The application."""

from typing import Annotated

from fastapi import Depends, FastAPI

from fastapi_events.dispatcher import dispatch
from fastapi_events.middleware import EventHandlerASGIMiddleware

from .dependencies import Settings, get_settings
from .events import events

app = FastAPI()
app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])


@app.post("/orders/{number}", status_code=202)
def place_order(number: int, settings: Annotated[Settings, Depends(get_settings)]) -> str:
    dispatch("order-placed", {"number": number})
    return f"placed; questions to {settings.sender}"
