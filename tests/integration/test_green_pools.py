"""Workers whose threads are greenlets, and functions that would end their process: real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.fork_server import ForkedProcess
from tests.processes import PATIENCE_SECONDS, Project

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

DRAMATIQ = """
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from fastapi_events.handlers.dramatiq import DramatiqHandler
    from fastapi_events.storage.redis import RedisStore
    broker = RedisBroker(url="redis://localhost:6379/0")
    MIDDLEWARE
    dramatiq.set_broker(broker)
    events = DramatiqHandler(broker, store=RedisStore("redis://localhost:6379/0"))
"""

CELERY = """
    from celery import Celery
    from fastapi_events.handlers.celery import CeleryHandler
    from fastapi_events.storage.redis import RedisStore
    app = Celery("app", broker="redis://localhost:6379/0")
    events = CeleryHandler(app, store=RedisStore("redis://localhost:6379/0"))
"""

HANDLERS = """
    import asyncio, contextvars, sys, time
    from typing import Annotated
    import anyio
    from fastapi import Depends
    import redis
    from app.events import *
    from fastapi_events.dispatcher import dispatch
    from fastapi_events.lifecycle import Lifecycle, observe
    from fastapi_events.retry import RetryPolicy

    def tell(name, value):
        # A connection of gevent's belongs to one real thread: the loop's and the greenlets' are two.
        with redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True) as client:
            client.rpush(name, value)

    tenant = contextvars.ContextVar("tenant", default="nobody")

    class Tell(Lifecycle):
        def failed(self, events, *, handler, error, subscription=None):
            tell("failed", f"{subscription} {type(error).__name__}")

    observe(Tell())

    async def scope():
        token = tenant.set("acme")
        async with anyio.create_task_group():
            yield
        tenant.reset(token)

    never = RetryPolicy(max_retries=0)

    @events.register(event_name="async", name="coroutine")
    async def coroutine(event):
        await asyncio.sleep(0.2)
        tell("async", event.payload["n"])
        dispatch("sync", {"n": event.payload["n"]}, ordering_key=f"lane-{event.payload['n'] % 3}")

    @events.register(event_name="sync", name="plain")
    def plain(event):
        time.sleep(0.1)
        dispatch("last", {"n": event.payload["n"]})
        tell("sync", event.payload["n"])

    @events.register(event_name="last", name="scoped")
    def scoped(event, _: Annotated[None, Depends(scope)]):
        tell("last", f"{tenant.get()} {event.payload['n']}")

    @events.register(event_name="leave", name="leave", retry=never)
    async def leave(event):
        sys.exit(2)

    @events.register(event_name="leave-sync", name="leave-sync", retry=never)
    def leave_sync(event):
        sys.exit(2)
"""

WORKERS = {
    "dramatiq": (DRAMATIQ, ["dramatiq", "app.handlers", "-p", "1", "-t", "4"]),
    "dramatiq-gevent": (DRAMATIQ, ["dramatiq-gevent", "app.handlers", "-p", "1", "-t", "8"]),
    **{
        f"celery-{pool}": (
            CELERY,
            [
                "celery", "-A", "app.handlers", "worker", "--pool", pool,
                "--concurrency", processes, "--without-mingle", "--without-gossip",
            ],
        )
        for pool, processes in {"gevent": "8", "eventlet": "8", "threads": "8", "prefork": "2"}.items()
    },
}  # fmt: skip


def start(project: Project, kind: str, *, middleware: str = "") -> ForkedProcess | subprocess.Popen[bytes]:
    """Start a worker; one that patches what it imports is a process that nothing has been imported into."""
    events, (program, *arguments) = WORKERS[kind]
    project.write(events=textwrap.dedent(events).replace("MIDDLEWARE", middleware), handlers=HANDLERS)
    library = kind.partition("-")[2]
    if library not in ("gevent", "eventlet"):
        return project.start(program, *arguments)
    pytest.importorskip(library)
    return project.start_fresh(str(Path(sys.executable).parent / program), *arguments)


def dispatch(project: Project, statement: str) -> None:
    project.run(
        "from app.events import events; from fastapi_events.dispatcher import dispatch;"
        "from fastapi_events.scope import collect_events\n"
        "with collect_events([events], raise_errors=True):\n"
        f"    {statement}"
    )


@pytest.mark.parametrize("kind", WORKERS)
def test_functions_of_every_kind_run_side_by_side_and_one_that_wants_to_end_the_process_has_failed(
    project: Project, kind: str
) -> None:
    numbers = {str(number) for number in range(12)}
    worker = start(project, kind)

    # When functions want to end the process, then they have failed
    dispatch(project, "dispatch('leave'); dispatch('leave-sync')")
    failed = {project.told("failed"), project.told("failed")}
    assert failed == {"leave FunctionExited", "leave-sync FunctionExited"}

    # And nobody else notices
    dispatch(project, "for n in range(12): dispatch('async', {'n': n})")

    assert {project.told("async") for _ in numbers} == numbers
    assert {project.told("sync") for _ in numbers} == numbers
    assert {project.told("last") for _ in numbers} == {f"acme {each}" for each in numbers}
    assert project.redis.lrange("failed", 0, -1) == []
    worker.send_signal(signal.SIGTERM)
    worker.wait(PATIENCE_SECONDS)


def test_where_dramatiqs_loop_would_share_the_thread_of_all_greenlets_the_worker_does_not_start(
    project: Project,
) -> None:
    worker = start(
        project, "dramatiq-gevent", middleware="broker.add_middleware(dramatiq.middleware.AsyncIO())"
    )

    assert worker.wait(PATIENCE_SECONDS) != 0
    assert "AsyncIO middleware runs its loop in a green thread" in project.logs()
