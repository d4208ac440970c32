"""Web servers with several processes: each event of a request is handled once, and published once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.ports import free_port
from tests.processes import PATIENCE_SECONDS, Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

REQUESTS = 24

WEB = """
import dramatiq, os, redis
from fastapi import FastAPI
from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware

client = redis.Redis.from_url("redis://localhost:6379/0")
events = DramatiqHandler(SafeRedisBroker(url="redis://localhost:6379/0"), flush_deadline=20.0)
local = LocalHandler()
app = FastAPI()
app.add_middleware(EventHandlerASGIMiddleware, handlers=[local, events])


@app.post("/orders/{number}", status_code=202)
def place_order(number: int) -> None:
    dispatch("order-placed", {"number": number})


@local.register(event_name="order-*")
def note(event) -> None:
    client.rpush("ran", event.payload["number"])
"""

SERVERS = {
    "uvicorn": ["uvicorn", "app.web:app", "--port", "PORT", "--workers", "2"],
    "gunicorn": [
        "gunicorn", "app.web:app", "--bind", "127.0.0.1:PORT", "--workers", "2", "--preload",
        "--worker-class", "uvicorn_worker.UvicornWorker",
    ],
}  # fmt: skip


def published(project: Project) -> list[int]:
    """The numbers of the orders in the broker's queue."""
    bodies = [json.loads(body) for body in project.redis.hvals("dramatiq:events.msgs")]
    batches: list[Any] = [body["args"][0] for body in bodies]
    return [
        envelope["data"]["number"]
        for batch in batches
        for envelope in (json.loads(batch) if isinstance(batch, str) else batch)
    ]


@pytest.mark.parametrize("server", SERVERS)
def test_each_event_is_handled_and_published_once(project: Project, server: str) -> None:
    project.write(web=WEB)
    port = str(free_port())
    command = [each.replace("PORT", port) for each in SERVERS[server]]
    log = (project.folder / "web.log").open("w")
    web = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=project.folder, env={**os.environ, "PYTHONPATH": str(project.folder)}, stdout=log, stderr=log,
    )  # fmt: skip

    # Each request by a connection of its own, so that any process may take it.
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"connection": "close"}, verify=False)

    def answers() -> bool:
        try:
            return client.get("/docs").status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(answers, f"an answer of {server}")
        for number in range(REQUESTS):
            assert client.post(f"/orders/{number}").status_code == 202
        until(lambda: project.redis.llen("ran") >= REQUESTS, "the functions in the web processes")
        web.send_signal(signal.SIGTERM)
        web.wait(PATIENCE_SECONDS)
    finally:
        web.kill()
        client.close()
        log.close()

    once = Counter(range(REQUESTS))
    assert Counter(map(int, project.redis.lrange("ran", 0, -1))) == once, project.logs()
    assert Counter(published(project)) == once, project.logs()
