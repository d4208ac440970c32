"""Who may look at the demo's console where it is not this machine alone: `docker-compose.yml` has it."""

from __future__ import annotations

import os
import secrets
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from fastapi_events.console import Visitor

EVERYTHING = frozenset(("replay", "discard", "pause", "edit", "see_payloads"))


def who(given: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> Visitor:
    """Anybody who knows the password of `CONSOLE_PASSWORD`, under the name that they give."""
    password = os.environ.get("CONSOLE_PASSWORD", "")
    if not password or not secrets.compare_digest(given.password.encode(), password.encode()):
        raise HTTPException(401, "Wrong password.", headers={"www-authenticate": "Basic"})
    return Visitor(given.username, EVERYTHING)
