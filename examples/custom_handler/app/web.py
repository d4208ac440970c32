"""The application."""

from pathlib import Path

from fastapi import FastAPI

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.typing import Event

from .audit import AuditHandler

audit = AuditHandler(Path("audit.jsonl"))
local = LocalHandler()

app = FastAPI()
app.add_middleware(EventHandlerASGIMiddleware, handlers=[local, audit])


@app.post("/orders/{number}", status_code=202)
def place_order(number: int) -> str:
    dispatch("order-placed", {"number": number})
    return "placed"


@local.register(event_name="order-placed")
def cook(event: Event) -> None:
    """One handler's failure is none of the other's: the audit log has the event all the same."""
    raise TimeoutError("the oven is cold")
