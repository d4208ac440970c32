"""Whether spans are made at all."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest

from fastapi_events.dispatcher import dispatch
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.otel import tracing
from fastapi_events.scope import collect_events
from tests.asgi import call
from tests.recording import Recorder


def test_without_an_sdk_a_scope_looks_for_one_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[None] = []
    monkeypatch.setattr(tracing, "recording", False)
    monkeypatch.setattr(tracing, "records", lambda: bool(looks.append(None)))

    for _ in range(2):
        with collect_events([Recorder()]):
            dispatch("one")
            dispatch("another")

    assert len(looks) == 2


def test_the_application_may_set_up_its_sdk_after_it_has_dispatched(
    spans: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with monkeypatch.context() as without:
            without.setattr(tracing, "recording", False)
            without.setattr(tracing, "records", lambda: False)
            dispatch("before")
        dispatch("after")

    asyncio.run(call(EventHandlerASGIMiddleware(app, []), {"type": "lifespan"}))

    assert (len(spans("Event before dispatched")), len(spans("Event after dispatched"))) == (0, 1)


@pytest.mark.parametrize(
    ("hidden", "what"), [("opentelemetry", "without opentelemetry"), (None, "without an SDK set up")]
)
def test_nothing_is_made(hidden: str | None, what: str) -> None:
    code = (
        "import sys\n"
        f"hidden = {hidden!r}\n"
        "if hidden: sys.modules[hidden] = None\n"
        "from fastapi_events.otel import tracing\n"
        "from fastapi_events.event import Event\n"
        "event = Event('a', headers={}); tracing.inject(event)\n"
        "assert event.headers == {}\n"
        "assert tracing.dispatch_span('a') is tracing.handle_span(Event('a'), object())\n"
        "with tracing.dispatch_span('a'): pass\n"
        "with tracing.dispatch_span('a'): print('fine')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "fine\n", f"{what}: {run.stderr}"


def test_the_api_is_left_alone_until_somebody_else_has_imported_it() -> None:
    """It takes long to import, and without it nobody can have set up an SDK."""
    code = (
        "import sys\n"
        "from fastapi_events.dispatcher import dispatch\n"
        "from fastapi_events.handlers.local import local_handler\n"
        "from fastapi_events.otel import tracing\n"
        "from fastapi_events.scope import collect_events\n"
        "def spans():\n"
        "    with collect_events([local_handler]): dispatch('a')\n"
        "    return tracing.records()\n"
        "found = [spans(), any(name.startswith('opentelemetry') for name in sys.modules)]\n"
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "trace.set_tracer_provider(TracerProvider())\n"
        "print([*found, spans()])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "[False, False, True]\n", run.stderr


def test_a_provider_that_the_environment_names_is_set_up() -> None:
    code = "from fastapi_events.otel import tracing; print(tracing.records())"
    environment = {**os.environ, "OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.stdout == "True\n", run.stderr
