"""Who may look at the console, and what they may do."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient

from fastapi_events.console import Visitor, console
from fastapi_events.console.permissions import Auth
from fastapi_events.errors import ConfigurationError
from tests.console.conftest import Shop


def status(shop: Shop, auth: Auth | None = None, **asked: Any) -> int:
    with TestClient(console(shop.handlers, auth=auth)) as client:
        return client.get("/", **asked).status_code


async def _from(app: Any, host: str, url: str, headers: dict[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(app=app, client=(host, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url=url) as client:
        return await client.get("/", headers=headers)


@pytest.mark.parametrize(
    ("host", "url", "headers", "expected"),
    [
        ("127.0.0.1", "http://localhost", {}, 200),
        ("::1", "http://127.0.0.1:8080", {}, 200),
        ("10.0.0.7", "http://localhost", {}, 403),
        ("127.0.0.1", "http://attacker.example", {}, 403),  # whose name leads to this machine
        ("127.0.0.1", "http://localhost", {"x-forwarded-for": "10.0.0.7"}, 403),
        ("127.0.0.1", "http://localhost", {"x-forwarded-proto": "https"}, 403),
        ("127.0.0.1", "http://localhost", {"via": "1.1 proxy"}, 403),
        ("127.0.0.1", "http://localhost", {"cf-ray": "1"}, 403),
        ("127.0.0.1", "http://localhost", {"true-client-ip": "10.0.0.7"}, 403),
    ],
)
def test_without_auth_only_this_machine_may_look(
    shop: Shop, host: str, url: str, headers: dict[str, str], expected: int
) -> None:
    shop.letter()
    answer = asyncio.run(_from(console(shop.handlers), host, url, headers))
    assert answer.status_code == expected
    assert ("shop.cook" in answer.text or "Now" in answer.text) is (expected == 200)


def test_without_auth_production_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_EVENTS_PRODUCTION", "1")
    with pytest.raises(ConfigurationError, match="auth="):
        console(shop.handlers)
    console(shop.handlers, auth=lambda request: None)


def test_nobody_is_let_in_whom_auth_does_not_know(shop: Shop) -> None:
    def who(request: Request) -> Visitor | None:
        return Visitor("alice") if request.headers.get("authorization") == "alice" else None

    assert status(shop, who) == 403
    assert status(shop, who, headers={"authorization": "alice"}) == 200


async def _async_who(request: Request) -> set[str]:
    return {"replay"}


def _by_basic(found: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> Visitor:
    return Visitor(found.username)


def _by_two(request: Request, name: str = Depends(lambda request: "alice")) -> Visitor:
    return Visitor(name)


def _unauthorized(request: Request) -> Visitor:
    raise HTTPException(401, "Log in.", headers={"www-authenticate": "Basic"})


def test_auth_may_be_async_or_a_dependency(shop: Shop) -> None:
    assert status(shop, _async_who) == 200
    assert status(shop, _by_two) == 200
    assert status(shop, _by_basic) == 401
    with TestClient(console(shop.handlers, auth=_by_basic)) as client:
        assert "carol" in client.get("/", auth=("carol", "secret")).text


def test_what_auth_raises_is_the_answer(shop: Shop) -> None:
    with TestClient(console(shop.handlers, auth=_unauthorized)) as client:
        answer = client.get("/")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Basic")
    assert "Log in." in answer.text
    assert "dramatiq:events" not in answer.text


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ("alice", "expected a function"),
        (lambda request, password: None, "'password'"),
        (lambda: (yield), "yields"),
    ],
)
def test_an_auth_that_no_request_can_satisfy_is_refused_at_once(shop: Shop, auth: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        console(shop.handlers, auth=auth)


def test_an_unknown_permission_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'replay'"):
        Visitor("alice", frozenset({"replays"}))
    with pytest.raises(ConfigurationError, match="expected a set"):
        Visitor("alice", "replay")  # type: ignore[arg-type]


def test_a_word_for_what_this_machine_may_do_is_no_set_of_letters(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match=r"local='replay': expected a set, such as \{'replay'\}"):
        console(shop.handlers, local="replay")


def test_payloads_are_shown_to_those_who_may_see_them(shop: Shop) -> None:
    shop.letter()
    shop.live("event-9")
    with TestClient(console(shop.handlers, auth=lambda request: Visitor("bob"))) as client:
        for path in ("/letter/letter-1", "/event/event-9", "/event/event-1"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert "You may not see payloads." in answer.text
            assert "order_id" not in answer.text
            assert "fish&#34;" not in answer.text


def test_a_mapping_grants_nothing(shop: Shop) -> None:
    def who(request: Request) -> Any:
        return {"replay": False}

    with pytest.raises(ConfigurationError, match="expected a Visitor"):
        status(shop, who)
