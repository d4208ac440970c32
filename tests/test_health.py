"""The probes of a web process, as an ASGI application."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from fastapi_events import health
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.local import LocalHandler
from tests.asgi import call, http_scope
from tests.handlers.task_queue.broker import ListEngine, ListHandler


class Away(ListEngine):
    def ping(self, *, timeout: float) -> None:
        raise ConnectionError("redis://user:secret@host is away")


def ask(app: Any, path: str, **changes: Any) -> tuple[int, Any]:
    start, body = asyncio.run(call(app, http_scope(path) | changes))
    return start["status"], json.loads(body["body"] or b"null")


def test_a_process_whose_handlers_are_ready_is_live_and_ready() -> None:
    app = health.app([ListHandler(), LocalHandler()])

    assert ask(app, "/livez") == (200, {"status": "live"})
    status, content = ask(app, "/readyz")
    assert status == 200
    assert content["status"] == "ready"
    assert [each["handler"] for each in content["handlers"]] == ["list:events"]


def test_one_handler_that_is_not_ready_speaks_for_all() -> None:
    app = health.app([ListHandler(), ListHandler(Away(), queue="other")])

    assert ask(app, "/livez")[0] == 200
    status, content = ask(app, "/readyz")
    assert status == 503
    assert content["status"] == "not ready"
    assert [each["is_ready"] for each in content["handlers"]] == [True, False]
    assert "secret" not in json.dumps(content)


def test_handlers_without_a_queue_are_always_ready() -> None:
    assert ask(health.app([LocalHandler()]), "/readyz") == (200, {"status": "ready", "handlers": []})


def test_it_answers_where_it_is_mounted() -> None:
    web = Starlette()
    web.mount("/health", health.app([ListHandler()]))

    with TestClient(web) as client:
        assert client.get("/health/readyz").json()["status"] == "ready"
        assert client.head("/health/livez").status_code == 200
        assert client.get("/health/other").status_code == 404
        assert client.post("/health/livez").headers["allow"] == "GET, HEAD"
    assert ask(health.app([]), "/health/livez", root_path="/health")[0] == 200


def test_it_may_be_a_servers_only_application() -> None:
    with TestClient(health.app([ListHandler()])) as client:
        answer = client.get("/readyz")

    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


def test_a_websocket_is_turned_away() -> None:
    sent = asyncio.run(call(health.app([]), {"type": "websocket", "path": "/livez"}, receive=[]))

    assert sent == [{"type": "websocket.close", "code": 1000}]


@pytest.mark.parametrize("wrong", [ListHandler(), 3, ["events"]], ids=["a handler", "a number", "a name"])
def test_what_is_no_list_of_handlers_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"app\("):
        health.app(wrong)
