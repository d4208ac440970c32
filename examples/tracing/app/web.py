"""The application.

An older FastAPI makes no span of a request: there, add `opentelemetry-instrumentation-fastapi`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from fastapi_events.dispatcher import dispatch
from fastapi_events.middleware import EventHandlerASGIMiddleware

from .events import events
from .telemetry import set_up


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    set_up("shop")
    yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])


@app.post("/orders/{number}", status_code=202)
def place_order(number: int) -> str:
    dispatch("order-placed", {"number": number})
    return "placed"
