"""The application."""

from typing import Annotated

from litestar import Litestar, post
from litestar.middleware import DefineMiddleware
from litestar.params import Parameter
from litestar.status_codes import HTTP_202_ACCEPTED

from fastapi_events.dispatcher import dispatch
from fastapi_events.middleware import EventHandlerASGIMiddleware

from .events import events


@post("/orders/{number:int}", status_code=HTTP_202_ACCEPTED)
async def place_order(number: Annotated[int, Parameter()]) -> str:
    dispatch("order-placed", {"number": number})
    return "placed"


app = Litestar(
    route_handlers=[place_order],
    middleware=[
        DefineMiddleware(EventHandlerASGIMiddleware, handlers=[events])  # type: ignore[arg-type]  # plain ASGI
    ],
    on_startup=[events.on_startup],
    on_shutdown=[events.on_shutdown],
)
