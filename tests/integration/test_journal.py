"""The journal tells of an event that went through two processes, on both engines and all kinds of stores."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.processes import Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

EVENTS = """
    from fastapi_events.retry import RetryPolicy
    {store}
    {broker}
"""

STORES = {
    "sqlite": """
    from fastapi_events.storage.sqlalchemy import SqlStore
    store = SqlStore("sqlite:///events.db")
    store.setup()
""",
    "redis": """
    from fastapi_events.storage.redis import RedisStore
    store = RedisStore("redis://localhost:6379/0")
""",
}

BROKERS = {
    "dramatiq": """
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from fastapi_events.handlers.dramatiq import DramatiqHandler
    broker = RedisBroker(url="redis://localhost:6379/0")
    dramatiq.set_broker(broker)
    events = DramatiqHandler(broker, store=store, flush_deadline=20.0)
""",
    "celery": """
    from celery import Celery
    from fastapi_events.handlers.celery import CeleryHandler
    broker = Celery("app", broker="redis://localhost:6379/0")
    broker.conf.broker_connection_retry_on_startup = True
    events = CeleryHandler(broker, store=store, flush_deadline=20.0)
""",
}

HANDLERS = """
    from app.events import broker, events
    from fastapi_events.dispatcher import dispatch
    from fastapi_events.retry import RetryPolicy

    seen = []

    @events.register(event_name="order", name="cook", retry=RetryPolicy(max_retries=1, min_backoff=0.1))
    def cook(event):
        seen.append(event.id)
        if len(seen) == 1:
            raise ValueError("no fish")
        dispatch("cooked")

    @events.register(event_name="cooked", name="serve", retry=RetryPolicy(max_retries=0))
    async def serve(event):
        raise RuntimeError("dropped")
"""

DISPATCH = """
from app.events import events
from fastapi_events.dispatcher import dispatch
from fastapi_events.scope import collect_events
with collect_events([events], raise_errors=True):
    dispatch("order", {"cat": 1})
"""

READ = """import json, os, redis
from app.events import store
found = store.journal.events()
records = {each.name: [
    (one.what, one.subscription, one.error, one.process, one.cause)
    for one in store.journal.records(each.id)] for each in found}
redis.Redis.from_url("redis://localhost:6379/0").set("told", json.dumps(records))
"""


@pytest.mark.parametrize(("engine", "store"), [("dramatiq", "sqlite"), ("celery", "redis")])
def test_the_journal_tells_what_became_of_an_event_in_all_processes(
    project: Project, engine: str, store: str
) -> None:
    project.write(
        events=EVENTS.format(store=STORES[store].strip(), broker=BROKERS[engine].strip()), handlers=HANDLERS
    )
    commands = {
        "dramatiq": ("dramatiq", "app.handlers", "--processes", "1", "--threads", "2"),
        "celery": ("celery", "-A", "app.handlers", "worker", "-c", "1", "--loglevel", "info"),
    }
    worker = project.start(*commands[engine])
    says = {"dramatiq": "is ready for action", "celery": " ready."}[engine]
    until(lambda: says in project.logs(), "the worker's start")

    project.run(DISPATCH)  # a process that ends at once writes what it knows before
    until(lambda: "given up by serve" in project.logs(), "the end")
    os.kill(worker.pid, signal.SIGTERM)  # so does a worker
    project.wait(worker)

    project.write(read=READ)
    project.run("import app.read")
    records: dict[str, list[Any]] = json.loads(project.redis.get("told"))
    order, cooked = records["order"], records["cooked"]
    # A worker may be at it before the process that published it has noted the broker's answer.
    # So may a function before the one that fanned its event out has.
    aside = (("published", None), ("fanned_out", None))
    assert set(aside) <= {tuple(each[:2]) for each in order}
    assert set(aside) <= {tuple(each[:2]) for each in cooked}
    assert [tuple(each[:2]) for each in order if tuple(each[:2]) not in aside] == [
        ("dispatched", None), ("started", "cook"), ("failed", "cook"),
        ("retried", "cook"), ("started", "cook"), ("succeeded", "cook"),
    ]  # fmt: skip
    assert ["failed", "cook", "ValueError: no fish"] in [each[:3] for each in order]
    assert [tuple(each[:2]) for each in cooked if tuple(each[:2]) not in aside] == [
        ("dispatched", None), ("started", "serve"), ("failed", "serve"), ("dead", "serve"),
    ]  # fmt: skip
    assert cooked[0][4] is not None
    [web] = {each[3] for each in order if each[0] == "dispatched"}
    [in_worker] = {each[3] for each in order if each[0] == "started"}
    assert web != in_worker
