"""That an action comes from a page of the console, and is done once however often it is asked for."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from fastapi_events.ids import random_id
from fastapi_events.storage.base import NEW
from fastapi_events.storage.inbox import Inbox

COOKIE: Final = "fastapi_events_token"
"""Holds a random token of the browser; every form has the same, which no other site can read."""

TOKEN, ACTION_ID = "token", "action_id"
"""The names of the fields."""

_TOKEN: Final = re.compile(r"[\w-]{32,64}", re.ASCII)
_ACTION_ID: Final = re.compile(r"[\w-]{8,64}", re.ASCII)
_REMEMBERED_SECONDS: Final = 86_400.0


def token_in(request: Request) -> str | None:
    """The token that the browser has, if it has one."""
    token = request.cookies.get(COOKIE, "")
    return token if _TOKEN.fullmatch(token) else None


def cookie(request: Request, token: str) -> str:
    """The header that gives a browser its token."""
    made: SimpleCookie = SimpleCookie()
    made[COOKIE] = token
    made[COOKIE].update({"path": request.scope.get("root_path", "") or "/", "samesite": "strict"})
    made[COOKIE]["httponly"] = True
    if request.url.scheme == "https":
        made[COOKIE]["secure"] = True
    return made[COOKIE].OutputString()


def new_action_id() -> str:
    """What one rendering of a form is told by."""
    return secrets.token_urlsafe(12)


def check(request: Request, form: Mapping[str, str]) -> str:
    """The id of the action, where the form is one of our pages'.

    Raises:
        HTTPException: 403 when the token is missing or another one; 400 when the id is none.
    """
    token = token_in(request)
    site = request.headers.get("sec-fetch-site", "same-origin")
    if token is None or site != "same-origin" or not hmac.compare_digest(form.get(TOKEN, ""), token):
        raise HTTPException(
            403, "This did not come from a page of the console: open the page again, and press there."
        )
    if not _ACTION_ID.fullmatch(form.get(ACTION_ID, "")):
        raise HTTPException(400, "The form has no id of its own: open the page again, and press there.")
    return form[ACTION_ID]


class Once:
    """Lets each action be done once, by any process that shares the inbox.

    Parameters:
        inbox: Remembers which were done.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._token = random_id()

    def begin(self, action_id: str) -> str | None:
        """A token if it is to be done; None where it was done, or somebody is at it."""
        token = f"{self._token}/{random_id()}"
        key = f"console/{action_id}"
        # The lease lasts as long as the memory: if the process ends meanwhile, it is not done twice.
        is_new = self._inbox.begin(key, token=token, lease=_REMEMBERED_SECONDS) is NEW
        return token if is_new else None

    def release(self, action_id: str, token: str) -> None:
        """Let a form be sent again whose action was refused or has failed."""
        self._inbox.release(f"console/{action_id}", token=token)
