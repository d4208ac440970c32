"""A marked value is in no log, span, command or store but in its message; on both engines."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from typing import Any

import pytest

from tests.integration.test_journal import BROKERS
from tests.processes import Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

VALUE = "4242-tuna-4242"

EVENTS = """
    import logging
    logging.getLogger().setLevel(logging.DEBUG)
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
    from fastapi_events.storage.sqlalchemy import SqlStore

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=open("spans.txt", "a"))))
    trace.set_tracer_provider(provider)
    store = SqlStore("sqlite:///events.db")
    store.setup()
    {broker}
"""

HANDLERS = """
    from typing import Annotated
    import redis
    from pydantic import BaseModel
    from app.events import broker, events
    from fastapi_events.retry import RetryPolicy
    from fastapi_events.typing import Sensitive

    client = redis.Redis.from_url("redis://localhost:6379/0")

    class Order(BaseModel):
        __event_name__ = "order"
        card: Annotated[str, Sensitive]
        cat: int

    @events.register(Order, name="cook", retry=RetryPolicy(max_retries=1, min_backoff=0.05))
    def cook(order):
        if client.get("mended") is None:
            raise ValueError(f"refused {order.card!r}")
        client.rpush("cooked", order.card)
"""

DISPATCH = f"""
    from app.events import events
    from app.handlers import Order
    from fastapi_events.dispatcher import dispatch
    from fastapi_events.scope import collect_events
    with collect_events([events], raise_errors=True):
        dispatch(Order(card="{VALUE}", cat=1))
"""


LOOK = """
    import contextlib, io, json, redis
    from app.events import store
    from fastapi_events.cli import main

    def ran(*arguments):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert main(arguments) == 0, arguments
        return out.getvalue()

    [letter] = store.dead_letters.list()
    shown = [
        ran("dead", "list", "app.events"),
        ran("dead", "list", "app.events", "--json"),
        ran("dead", "show", "app.events", letter.id),
        ran("event", "show", "app.events", letter.event_id),
        ran("event", "show", "app.events", letter.event_id, "--json"),
    ]
    client = redis.Redis.from_url("redis://localhost:6379/0")
    client.rpush("shown", "".join(shown))
    client.set("mended", 1)
    ran("dead", "replay", "app.events", letter.id)
"""


@pytest.mark.parametrize("engine", ["dramatiq", "celery"])
def test_a_marked_value_is_only_in_its_message_and_a_replay_delivers_it(
    project: Project, engine: str
) -> None:
    broker = BROKERS[engine].strip().replace("store=store", "store=store, journal_payloads=True")
    project.write(events=EVENTS.format(broker=broker), handlers=HANDLERS, send=DISPATCH)
    commands = {
        "dramatiq": ("dramatiq", "app.handlers", "--processes", "1", "--threads", "2", "-v"),
        "celery": ("celery", "-A", "app.handlers", "worker", "-c", "1", "--loglevel", "debug"),
    }
    worker = project.start(*commands[engine])
    until(
        lambda: {"dramatiq": "is ready for action", "celery": " ready."}[engine] in project.logs(),
        "the start",
    )

    project.run("import app.send")
    until(lambda: "given up by cook" in project.logs(), "the end")

    os.kill(worker.pid, signal.SIGTERM)
    project.wait(worker)
    assert_only_in_messages(project)

    worker = project.start(*commands[engine])
    project.write(look=LOOK)
    project.run("import app.look")
    shown = project.told("shown")
    assert project.told("cooked") == VALUE

    assert "ValueError: refused '***'" in shown
    assert '"card":"***"' in shown
    assert VALUE not in shown
    assert VALUE not in project.logs()
    spans = (project.folder / "spans.txt").read_text()
    assert "refused '***'" in spans
    assert VALUE not in spans


def assert_only_in_messages(project: Project) -> None:
    """Of all that the store holds only the dead letter's message has the value."""
    with contextlib.closing(sqlite3.connect(project.folder / "events.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found: dict[str, set[Any]] = {}
        for table in tables:
            rows = database.execute(f"SELECT * FROM {table}")
            columns = [each[0] for each in rows.description]
            for row in rows:
                for column, value in zip(columns, row, strict=True):
                    if VALUE in str(value):
                        found.setdefault(table, set()).add(column)
    assert found == {"fastapi_events_dead_letters": {"argument"}}
