"""The application of the operators: the console, behind a password."""

import base64
import os
import secrets

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from fastapi_events.console import console

from .events import events


class Password:
    """Lets only those in who send the password, as browsers do once they have asked for it.

    Parameters:
        app: The application inside.
        user: Who may come in.
        password: With which password.
    """

    def __init__(self, app: ASGIApp, *, user: str, password: str) -> None:
        self._app = app
        self._expected = b"Basic " + base64.b64encode(f"{user}:{password}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not secrets.compare_digest(given, self._expected):
                asks = {"WWW-Authenticate": 'Basic realm="ops"'}
                await PlainTextResponse("Who are you?", 401, asks)(scope, receive, send)
                return
        await self._app(scope, receive, send)


app = Starlette(
    routes=[Mount("/", console([events]))],
    middleware=[Middleware(Password, user="ops", password=os.environ["OPS_PASSWORD"])],
)
