"""What a function in a worker shares with the request before it, and with other code of its process."""

from __future__ import annotations

import pytest

from tests.processes import Project

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

CONTEXT = """
    from contextlib import contextmanager
    from contextvars import ContextVar
    request_id = ContextVar("request_id", default=None)

    def headers():
        found = request_id.get()
        return {} if found is None else {"requestid": found}

    @contextmanager
    def as_in_the_request(event):
        token = request_id.set(event.headers.get("requestid"))
        try:
            yield
        finally:
            request_id.reset(token)
"""

DRAMATIQ = """
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from app.context import as_in_the_request, headers
    from fastapi_events.handlers.dramatiq import DramatiqHandler
    broker = RedisBroker(url="redis://localhost:6379/0")
    broker.add_middleware(dramatiq.middleware.AsyncIO())
    dramatiq.set_broker(broker)
    events = DramatiqHandler(broker, headers_from=headers, context_from=as_in_the_request)
    own = dramatiq.actor
"""

CELERY = """
    from celery import Celery
    from app.context import as_in_the_request, headers
    from fastapi_events.handlers.celery import CeleryHandler
    app = Celery("app", broker="redis://localhost:6379/0")
    events = CeleryHandler(app, headers_from=headers, context_from=as_in_the_request)
    own = app.task
"""

HANDLERS = """
    import redis
    from app.context import request_id
    from app.events import *
    from fastapi_events.dispatcher import dispatch
    from redis import asyncio as redis_asyncio

    client = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True)
    shared = redis_asyncio.Redis.from_url("redis://localhost:6379/0")

    @events.register(event_name="asked", name="first")
    def first(event):
        client.rpush("sync", str(request_id.get()))
        dispatch("answered")

    @events.register(event_name="answered", name="second")
    async def second(event):
        await shared.rpush("async", str(request_id.get()))

    @own
    async def actor():  # of Dramatiq, on the loop of its middleware; Celery has no async tasks
        await shared.rpush("actor", "done")
"""

WORKERS = {
    "dramatiq": (DRAMATIQ, ("dramatiq", "app.handlers", "--processes", "1", "--threads", "2")),
    "celery": (
        CELERY,
        ("celery", "-A", "app.handlers", "worker", "--pool", "prefork", "--concurrency", "1",
         "--without-mingle", "--without-gossip"),
    ),
}  # fmt: skip

REQUEST = """
from app.context import request_id
from app.events import events
from fastapi_events.dispatcher import dispatch
from fastapi_events.scope import collect_events

for name in ("r-1", None):
    request_id.set(name)
    with collect_events([events], raise_errors=True):
        dispatch("asked")
"""


@pytest.mark.parametrize("engine", list(WORKERS))
def test_what_a_request_has_set_is_there_in_its_functions_and_in_those_they_cause(
    project: Project, engine: str
) -> None:
    build, worker = WORKERS[engine]
    project.write(context=CONTEXT, events=build, handlers=HANDLERS)
    project.start(*worker)

    # When: two requests, one of which has an id
    project.run(REQUEST)

    # Then: its functions have it, sync and async ones, and nothing of it is left for others
    assert {project.told("sync") for _ in range(2)} == {"r-1", "None"}
    assert {project.told("async") for _ in range(2)} == {"r-1", "None"}
    if engine == "dramatiq":
        # And: a client that an async actor uses on Dramatiq's loop is one that async functions can use
        project.run("from app.handlers import actor; actor.send()")
        assert project.told("actor") == "done"
        project.run(REQUEST)
        assert {project.told("async") for _ in range(2)} == {"r-1", "None"}
