"""`fastapi-events console` serves the console to this machine, or to those whom a function lets in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.processes import until

ROOT = Path(__file__).parents[2]


def test_it_serves_until_it_is_stopped(app: Any) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "fastapi_events", "console", "shop_events:events", "--port", str(port)],
        stdout=subprocess.PIPE, text=True, cwd=Path(app.__file__).parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/"

    def page() -> str:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError:
            return ""

    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        until(page, "it answers")
        assert "list:events" in page()
        elsewhere = urllib.request.Request(url, headers={"host": "attacker.example"})
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(elsewhere, timeout=10)
        refused.value.close()
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.communicate()
    assert line == f"The console of list:events: {url}\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "0.0.0.0"), "is not this machine alone"),
        (("--auth", "shop_events"), "expected MODULE:NAME"),
        (("--auth", "shop_event:who"), "cannot be imported"),
        (("--auth", "shop_events:event"), "did you mean 'events'"),
        (("--auth", "shop_events:events"), "expected a function"),
        (("--allow", "replays"), "did you mean 'replay'"),
    ],
)
def test_what_cannot_be_served_is_refused_at_once(
    run: Any, app: Any, options: tuple[str, ...], said: str
) -> None:
    ran = run("console", "shop_events:events", *options)
    assert ran.code == 2
    assert said in ran.err


@pytest.mark.parametrize("port", ["0", "http", "70000"])
def test_a_port_that_is_none_is_refused(run: Any, port: str) -> None:
    ran = run("console", "shop_events:events", "--port", port)
    assert ran.code == 2
    assert "is no port" in ran.err


def test_in_production_it_needs_auth(run: Any, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_EVENTS_PRODUCTION", "yes")
    ran = run("console", "shop_events:events")
    assert ran.code == 2
    assert "auth=" in ran.err
