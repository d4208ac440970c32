"""The application."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from fastapi_events.dispatcher import dispatch
from fastapi_events.middleware import EventHandlerASGIMiddleware

from .events import events


async def place_order(request: Request) -> PlainTextResponse:
    dispatch("order-placed", {"number": request.path_params["number"]})
    return PlainTextResponse("placed", status_code=202)


async def counter(websocket: WebSocket) -> None:
    """Each message is an order; its event does not wait until the websocket closes."""
    await websocket.accept()
    async for number in websocket.iter_text():
        dispatch("order-placed", {"number": int(number)})
        await websocket.send_text("placed")


app = Starlette(
    routes=[
        Route("/orders/{number:int}", place_order, methods=["POST"]),
        WebSocketRoute("/counter", counter),
    ],
    middleware=[Middleware(EventHandlerASGIMiddleware, handlers=[events])],
)
