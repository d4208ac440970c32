"""What an action has come to is said once, on the page that follows."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from fastapi_events.console import notices


def request(said: str | None = None) -> Request:
    headers = [] if said is None else [(b"cookie", f"{notices.COOKIE}={quote(said)}".encode())]
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": "/", "headers": headers, "scheme": "http",
        "server": ("localhost", 80), "query_string": b"",
    }  # fmt: skip
    return Request(scope)


def test_it_travels_in_a_cookie_that_the_next_page_takes_away() -> None:
    response = Response()
    notices.give(request(), response, "Käthe's <b>letter</b>; was replayed")
    [set_by_action] = response.headers.getlist("set-cookie")
    said = set_by_action.partition("=")[2].partition(";")[0].strip('"')
    assert (
        notices.notice_of(request("Käthe's <b>letter</b>; was replayed"))
        == "Käthe's <b>letter</b>; was replayed"
    )
    assert quote("Käthe's <b>letter</b>; was replayed") == said

    page = Response()
    notices.taken(request("done"), page)
    assert "Max-Age=0" in page.headers["set-cookie"]


def test_most_pages_say_nothing() -> None:
    page = Response()
    notices.taken(request(), page)
    assert "set-cookie" not in page.headers
    assert notices.notice_of(request()) is None
