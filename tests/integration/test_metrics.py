"""Web processes and workers of several processes each count into one folder, and a page has all of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

import httpx
import pytest

from tests.integration.brokers import BROKERS
from tests.ports import free_port
from tests.processes import Project, until
from tests.test_prometheus import families

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

REQUESTS = 24

EVENTS = """
    from fastapi_events.lifecycle import observe
    from fastapi_events.prometheus import PrometheusLifecycle
    {broker}
    observe(PrometheusLifecycle())
"""

WEB = """
    import os
    from fastapi import FastAPI
    from fastapi_events.dispatcher import dispatch
    from fastapi_events.middleware import EventHandlerASGIMiddleware
    from fastapi_events.prometheus import metrics_app
    from app.events import events

    app = FastAPI()
    app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])
    app.mount("/metrics", metrics_app([events]))

    @app.get("/order")
    async def order() -> int:
        dispatch("order")
        return os.getpid()
"""

HANDLERS = """
    import os, redis, time
    from fastapi_events.retry import RetryPolicy
    from app.events import broker, events

    client = redis.Redis.from_url("redis://localhost:6379/0")

    @events.register(event_name="order", name="cook", retry=RetryPolicy(max_retries=0))
    def cook(event):
        client.sadd("pids", os.getpid())
        until = time.monotonic() + 20
        while client.scard("pids") < 2 and time.monotonic() < until:  # the other process shall have some, too
            time.sleep(0.01)
        if client.incr("calls") == 1:
            raise ValueError("no fish")
"""

COMMANDS = {
    "dramatiq": ("dramatiq", "app.handlers", "--processes", "2", "--threads", "1"),
    "celery": (
        "celery",
        "-A",
        "app.handlers",
        "worker",
        "--pool",
        "prefork",
        "-c",
        "2",
        "--loglevel",
        "info",
    ),
}


@pytest.mark.parametrize("engine", ["dramatiq", "celery"])
def test_counts_of_all_processes_are_whole(project: Project, engine: str) -> None:
    project.write(events=EVENTS.format(broker=BROKERS[engine].strip()), web=WEB, handlers=HANDLERS)
    folder, port = project.folder / "metrics", free_port()
    folder.mkdir()
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    project.start(
        "gunicorn", "app.web:app", "--worker-class", "uvicorn_worker.UvicornWorker", "--workers", "2",
        "--bind", f"127.0.0.1:{port}", **shared,
    )  # fmt: skip
    worker = project.start(*COMMANDS[engine], **shared)
    until(lambda: project.logs().count("Application startup complete") == 2, "both web processes")

    web: set[str] = set()
    asked = 0
    while asked < REQUESTS or len(web) < 2:  # each connection is for whoever takes it
        web.add(httpx.get(f"http://127.0.0.1:{port}/order", timeout=30.0).text)
        asked += 1
        assert asked < 1_000

    def page() -> Mapping[str, Mapping[tuple[str, ...], float]]:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30.0, follow_redirects=True)
        return families(answer.content)

    def counted(what: str) -> float:
        return sum(page().get(f"fastapi_events_events_{what}", {}).values())

    until(lambda: counted("succeeded_total") + counted("dead_total") == asked, "all are handled")
    assert project.redis.scard("pids") == 2
    all_of_them = (
        "dispatched_total", "published_total", "fanned_out_total", "started_total",
        "publishing_seconds_count", "age_seconds_count", "handling_seconds_count",
    )  # fmt: skip
    failed = {"succeeded_total": asked - 1, "failed_total": 1, "dead_total": 1, "lost_total": 0}
    expected = {**dict.fromkeys(all_of_them, asked), **failed}
    assert {each: counted(each) for each in expected} == expected

    project.kill_group(worker, signal.SIGTERM)  # what ended processes have counted stays
    project.wait(worker)
    assert counted("started_total") == asked
    assert os.listdir(folder)
