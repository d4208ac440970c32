"""What is no message of Celery's is kept and stops nobody; monitors see a task for each subscription."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from fastapi_events.embedded import Backoff, Supervisor
from tests.fork_server import ForkServer
from tests.processes import Project, a_project

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

EVENTS = """
    from celery import Celery
    from fastapi_events.handlers.celery import CeleryHandler
    broker = Celery("app", broker="redis://localhost:6379/0")
    broker.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1)
    broker.conf.broker_transport = "fastapi_events.handlers.celery.redis_transport:Transport"
    events = CeleryHandler(broker, flush_deadline=30.0)
"""

HANDLERS = """
    import redis
    from app.events import broker, events
    from fastapi_events.lifecycle import Lifecycle, observe

    tell = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True).rpush

    class Tell(Lifecycle):
        def dead(self, event, *, subscription, reason, attempts):
            tell("dead", reason)

    observe(Tell())

    @events.register(event_name="hello", name="hello")
    def hello(event):
        tell("handled", event.payload)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> Iterator[Project]:
    """A project whose worker is started again whenever it ends; no test leaves anything there."""
    folder = tmp_path_factory.mktemp("foreign")
    with a_project(folder, fork_server) as project, (folder / "worker.log").open("w") as log:
        project.write(events=EVENTS, handlers=HANDLERS)
        supervisor = Supervisor(backoff=Backoff(first=0.1, longest=0.5), output=log)
        supervisor.add(
            "worker",
            [sys.executable, "-m", "celery", "-A", "app.handlers", "worker", "--pool", "threads"],
            {"PYTHONPATH": f"{project.folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        )
        with supervisor:
            project.dispatch("hello", 0)
            assert project.told("handled") == "0"
            yield project


SEND = """
from app.events import broker
with broker.connection_for_write() as connection:
    producer = connection.Producer()
    headers = {"task": "hello", "id": "1"}
    producer.publish(BODY, routing_key="events", headers=headers, content_type=TYPE, content_encoding="utf-8")
"""


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("'{not json'", "'application/json'"),
        ("b'cos\\nsystem\\n'", "'application/x-python-serialize'"),
        ("'[[1, 2], {}, {}]'", "'application/json'"),
        ("'[1'", "'text/plain'"),
    ],
    ids=["not-json", "pickle", "other-arguments", "plain-text"],
)
def test_a_body_that_cannot_be_read_is_kept_and_stops_nobody(project: Project, body: str, kind: str) -> None:
    project.run(SEND.replace("BODY", body).replace("TYPE", kind))
    project.dispatch("hello", 1)

    assert project.told("handled") == "1"
    assert project.told("dead").startswith("UnreadableEnvelope: ")


def test_an_envelope_that_is_not_json_is_kept_and_the_worker_lives(project: Project) -> None:
    project.redis.lpush("events", "{not json")
    project.dispatch("hello", 1)

    assert project.told("handled") == "1"
    assert project.told("dead").startswith("UnreadableEnvelope: ")
    assert "Unrecoverable error" not in project.logs()


def test_monitors_know_each_subscription_by_its_name(project: Project) -> None:
    project.run(
        "from app.events import broker\n"
        "[tasks] = broker.control.inspect(timeout=10, limit=1).registered().values()\n"
        "assert tasks == ['fastapi_events.fan_out', 'fastapi_events.unknown', 'hello'], tasks"
    )
