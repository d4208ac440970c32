"""A worker that has stopped consuming ends, and one that is idle or at work does not."""

from __future__ import annotations

import pytest

from tests.processes import Project, until

pytestmark = pytest.mark.acceptance

EVENTS = """
    from celery import Celery
    from fastapi_events.handlers.celery import CeleryHandler
    broker = Celery("app", broker={url!r})
    broker.conf.broker_connection_retry_on_startup = True
    events = CeleryHandler(broker, silent_after=2.0, flush_deadline=30.0)
"""

HANDLERS = """
    import celery
    import redis
    from app.events import broker, events

    tell = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True).rpush

    @celery.signals.task_received.connect
    def on_received(request, **_):
        tell("received", request.name)
"""


@pytest.fixture(
    params=[
        pytest.param("valkey", marks=pytest.mark.valkey),
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    ]
)
def url(request: pytest.FixtureRequest, project: Project) -> str:
    if request.param == "valkey":
        return project.url
    return str(request.getfixturevalue("amqp_url"))


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_no_longer_consumes_ends(project: Project, url: str, pool: str) -> None:
    # Given: an idle worker, which lives on its own heartbeat for longer than its patience
    project.write(events=EVENTS.format(url=url), handlers=HANDLERS)
    worker = project.start(
        "celery", "-A", "app.handlers", "worker", "--pool", pool, "--concurrency", "1", "--hostname",
        f"w-{pool}@here", "--without-mingle", "--without-gossip", "--loglevel", "INFO",
    )  # fmt: skip
    for _ in range(6):  # of which there are four in the time of its patience
        assert project.told("received") == "fastapi_events.heartbeat"
    assert worker.poll() is None

    # When: it consumes its queue no more
    project.run(
        f"from app.events import broker; broker.control.cancel_consumer("
        f"'fastapi_events.heartbeat.w-{pool}@here', destination=['w-{pool}@here'])"
    )

    # Then: it ends, and says why
    project.wait(worker)
    until(lambda: "it ends" in project.logs(), "the reason in the log")
