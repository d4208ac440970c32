"""What an action has come to, said once on the page that follows."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response

COOKIE: Final = "fastapi_events_notice"

_SECONDS: Final = 60
_LONGEST: Final = 400


def give(request: Request, response: Response, text: str) -> None:
    """Keep a notice for the next page to show."""
    response.set_cookie(
        COOKIE, quote(text[:_LONGEST]), max_age=_SECONDS, path=_path(request), httponly=True,
        samesite="strict", secure=request.url.scheme == "https",
    )  # fmt: skip


def notice_of(request: Request) -> str | None:
    """The notice that this page shows, if any."""
    found = request.cookies.get(COOKIE)
    return unquote(found) if found else None


def taken(request: Request, response: Response) -> None:
    """Forget a notice that has been shown."""
    if COOKIE in request.cookies:
        response.delete_cookie(COOKIE, path=_path(request), httponly=True, samesite="strict")


def _path(request: Request) -> str:
    return request.scope.get("root_path", "") or "/"
