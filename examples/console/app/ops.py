"""The application of the operators: the console, and who may do what there."""

import os
import secrets
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from fastapi_events.console import Visitor, console

from .events import events

OPERATORS = {
    "ops": Visitor("ops", {"see_payloads", "replay", "discard", "pause"}),
    "guest": Visitor("guest"),  # may look, and press nothing
}


def who(request: Request, given: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> Visitor:
    """Who asks. Replace it with the log-in that you have; the name goes into the audit trail."""
    password = os.environ["OPS_PASSWORD"]
    if given.username not in OPERATORS or not secrets.compare_digest(given.password, password):
        raise HTTPException(401, "Who are you?", {"WWW-Authenticate": "Basic"})
    return OPERATORS[given.username]


app = Starlette(routes=[Mount("/", console([events], auth=who))])
