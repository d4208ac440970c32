"""An action comes from a page of the console, and is done once."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from fastapi_events.console import csrf
from fastapi_events.storage.memory import MemoryInbox

TOKEN = "t" * 43


def request(cookie: str | None = TOKEN, **headers: str) -> Request:
    given = {"cookie": f"{csrf.COOKIE}={cookie}"} if cookie is not None else {}
    lines = [(name.replace("_", "-").encode(), text.encode()) for name, text in (given | headers).items()]
    scope: dict[str, Any] = {
        "type": "http", "method": "POST", "path": "/", "headers": lines, "scheme": "https",
        "server": ("console.example", 443), "root_path": "/events", "query_string": b"",
    }  # fmt: skip
    return Request(scope)


def form(**fields: str) -> dict[str, str]:
    return {"token": TOKEN, "action_id": "action-1"} | fields


def test_a_form_of_our_pages_is_taken() -> None:
    assert csrf.check(request(), form()) == "action-1"
    assert csrf.check(request(sec_fetch_site="same-origin"), form()) == "action-1"


@pytest.mark.parametrize(
    ("asked", "fields", "status"),
    [
        (request(), form(token=""), 403),
        (request(), form(token="u" * 43), 403),
        (request(cookie=None), form(), 403),
        (request(cookie="short"), form(token="short"), 403),
        (request(sec_fetch_site="cross-site"), form(), 403),
        (request(), form(action_id=""), 400),
        (request(), form(action_id="../../secret"), 400),
    ],
)
def test_every_other_is_refused(asked: Request, fields: dict[str, str], status: int) -> None:
    with pytest.raises(HTTPException) as refused:
        csrf.check(asked, fields)
    assert refused.value.status_code == status


def test_no_script_and_no_other_site_reads_the_token() -> None:
    made: SimpleCookie = SimpleCookie(csrf.cookie(request(), TOKEN))
    found = made[csrf.COOKIE]
    assert (found["httponly"], found["secure"], found["samesite"], found["path"]) == (
        True, True, "strict", "/events",
    )  # fmt: skip


def test_each_action_begins_once_in_whatever_process() -> None:
    inbox = MemoryInbox()
    one, other = csrf.Once(inbox), csrf.Once(inbox)
    assert one.begin("action-1")
    assert not one.begin("action-1")
    assert not other.begin("action-1")
    assert other.begin("action-2")


def test_what_was_refused_may_be_asked_for_again() -> None:
    once = csrf.Once(MemoryInbox())
    token = once.begin("action-1")
    assert token is not None
    once.release("action-1", token)
    assert once.begin("action-1")
