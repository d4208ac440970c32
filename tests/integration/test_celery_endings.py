"""What becomes of the work when a worker is stopped at once, runs out of time, or its broker out of room."""

from __future__ import annotations

import signal

import pytest

from tests.fork_server import ForkedProcess
from tests.processes import Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

EVENTS = """
    from celery import Celery
    from fastapi_events.handlers.celery import CeleryHandler
    from fastapi_events.retry import RetryPolicy
    broker = Celery("app", broker="redis://localhost:6379/0")
    broker.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": 5, "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
        },
        worker_prefetch_multiplier=1,
    )
    events = CeleryHandler(broker, retry=RetryPolicy(max_retries=0, max_backoff=1.0), flush_deadline=10.0)
"""

HANDLERS = """
    import os
    import time
    import redis
    from app.events import broker, events
    from fastapi_events.lifecycle import Lifecycle, observe

    client = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True)

    class Tell(Lifecycle):
        def dead(self, event, *, subscription, reason, attempts):
            client.rpush("dead", reason)

    observe(Tell())

    @events.register(event_name="slow", name="slow")
    def slow(event):
        client.rpush("started", os.getpid())
        while not client.exists("gate"):
            time.sleep(0.02)
        client.rpush("handled", event.payload)

    @events.register(event_name="hello", name="hello")
    def hello(event):
        client.rpush("handled", event.payload)

    @events.register(event_name="loop", name="loop", time_limit=1)
    def loop(event):
        while True:
            time.sleep(0.02)

    @events.register(event_name="deaf", name="deaf", time_limit=1)
    def deaf(event):
        first = client.rpush("deaf", os.getpid()) == 1
        time.sleep(60 if first else 0)  # which no error interrupts
        client.rpush("handled", event.payload)
"""


def start(project: Project, pool: str) -> ForkedProcess:
    project.write(events=EVENTS, handlers=HANDLERS)
    return project.start(
        "celery", "-A", "app.handlers", "worker", "--pool", pool, "--concurrency", "2",
        "--without-mingle", "--without-gossip",
    )  # fmt: skip


def test_a_prefork_worker_that_stops_at_once_gives_its_work_back(project: Project) -> None:
    # Given: a worker in the middle of its work
    worker = start(project, "prefork")
    project.dispatch("slow", 1)
    project.told("started")

    # When: it is told to stop cold, and another starts
    worker.send_signal(signal.SIGQUIT)
    project.wait(worker)
    project.redis.set("gate", "open")
    start(project, "prefork")

    # Then: that one does it
    assert project.told("handled") == "1"


def test_a_time_limit_holds_in_the_solo_pool(project: Project) -> None:
    start(project, "solo")
    project.dispatch("loop")
    project.dispatch("hello", 1)

    assert project.told("dead").startswith("SoftTimeLimitExceeded")
    assert project.told("handled") == "1"


def test_what_nothing_interrupts_is_killed_in_the_prefork_pool_and_delivered_again(project: Project) -> None:
    start(project, "prefork")
    project.dispatch("deaf", 1)

    assert project.told("handled") == "1"
    first, second = project.redis.lrange("deaf", 0, -1)
    assert first != second


def test_a_worker_whose_broker_is_full_is_back_when_there_is_room(project: Project) -> None:
    # Given: work in a broker that takes no more
    project.write(events=EVENTS, handlers=HANDLERS)
    project.dispatch("hello", 1)
    project.redis.config_set("maxmemory", "1mb")

    # When: a worker under our supervisor comes to it, until there is room
    project.start(
        "fastapi_events", "worker", "app.handlers", "--", "--pool", "solo", "--without-mingle",
        "--without-gossip",
    )  # fmt: skip
    until(lambda: "used memory > 'maxmemory'" in project.logs(), "the refusal of the broker")
    project.redis.config_set("maxmemory", 0)

    # Then: it is back, and the work is done
    assert project.told("handled") == "1"
