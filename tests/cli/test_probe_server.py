"""The probes of a worker, over HTTP."""

from __future__ import annotations

import json
from typing import Any
from urllib import error, request

import pytest

from fastapi_events.cli.probe_server import ProbeServer
from fastapi_events.errors import ConfigurationError
from fastapi_events.worker_reports import Verdict


def ask(server: ProbeServer, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    asked = request.Request(f"http://127.0.0.1:{server.port}{path}", method=method)
    try:
        with request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers["Content-Type"], refused.read()


def verdict(**changes: Any) -> Verdict:
    found: dict[str, Any] = {"at": 1.0, "live": True, "ready": True, "problems": [], "workers": []}
    return found | changes  # type: ignore[return-value]


def test_it_answers_what_was_found_last() -> None:
    found = verdict()
    with ProbeServer("127.0.0.1:0", lambda: found, {}) as server:
        assert ask(server, "/livez")[0] == ask(server, "/readyz?verbose")[0] == 200
        found = verdict(ready=False, problems=["dramatiq: the broker does not answer"])
        status, kind, content = ask(server, "/readyz")
        assert (status, kind) == (503, "application/json")
        assert json.loads(content)["problems"] == ["dramatiq: the broker does not answer"]
        assert ask(server, "/livez")[0] == 200
        found = verdict(live=False, ready=False)
        assert ask(server, "/livez")[0] == 503
        assert ask(server, "/livez", "HEAD")[2] == b""


def test_it_serves_other_pages_and_says_which_there_are() -> None:
    pages = {"/metrics": lambda: ("text/plain", b"events 1\n")}
    with ProbeServer(":0", verdict, pages) as server:
        assert ask(server, "/metrics") == (200, "text/plain", b"events 1\n")
        assert ask(server, "/")[2] == b"There are /livez, /readyz, /metrics.\n"


@pytest.mark.parametrize("wrong", ["8080", "localhost", ":", "localhost:http", ":99999"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=":8080"):
        ProbeServer(wrong, verdict, {})


def test_a_port_that_is_taken_is_named() -> None:
    with (
        ProbeServer("127.0.0.1:0", verdict, {}) as server,
        pytest.raises(ConfigurationError, match=f"127.0.0.1:{server.port}"),
    ):
        ProbeServer(f"127.0.0.1:{server.port}", verdict, {})
