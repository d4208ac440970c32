"""A message that kills its worker again and again is given up, on both brokers and in every pool."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator

import pytest

from fastapi_events.embedded import Backoff, Supervisor
from tests.processes import Project

pytestmark = [pytest.mark.acceptance]

AMQP_URL = os.environ.get("FASTAPI_EVENTS_TEST_AMQP_URL")

EVENTS = """
    from celery import Celery
    from fastapi_events.handlers.celery import CeleryHandler
    from fastapi_events.retry import RetryPolicy

    broker = Celery("app", broker={url!r})
    broker.conf.worker_prefetch_multiplier = 1
    broker.conf.broker_connection_retry_on_startup = True
    if {url!r}.startswith("redis"):
        broker.conf.broker_transport_options = {{
            "visibility_timeout": 3, "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
        }}
    events = CeleryHandler(broker, queue={queue!r}, retry=RetryPolicy(max_backoff=1.0))
"""

HANDLERS = """
    import os
    import signal
    import redis
    from app.events import broker, events
    from fastapi_events.lifecycle import Lifecycle, observe
    from fastapi_events.typing import Event

    tell = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True).rpush

    class Tell(Lifecycle):
        def dead(self, event, *, subscription, reason, attempts):
            tell("dead", f"{subscription}: {reason}")

    observe(Tell())

    @events.register(event_name="poison", name="poisoned")
    def poisoned(event: Event) -> None:
        tell("poisoned", os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)

    @events.register(event_name="crash", name="crashing")
    def crashing(event: Event) -> None:
        tell("crashing", os.getpid())
        os._exit(1)

    @events.register(event_name="hello", name="neighbour")
    def neighbour(event: Event) -> None:
        tell("handled", event.payload)
"""


@pytest.fixture(
    params=[
        pytest.param("valkey", marks=pytest.mark.valkey),
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    ]
)
def shop(request: pytest.FixtureRequest, project: Project) -> Project:
    """A project on each broker."""
    url = project.url
    if request.param == "rabbitmq":
        if AMQP_URL is None:
            if os.environ.get("CI") == "true":
                pytest.fail("FASTAPI_EVENTS_TEST_AMQP_URL is not set, and in CI RabbitMQ has to be there")
            pytest.skip("FASTAPI_EVENTS_TEST_AMQP_URL is not set: no RabbitMQ")
        url = AMQP_URL
    queue = f"q{uuid.uuid4().hex[:8]}"
    project.write(events=EVENTS.format(url=url, queue=queue), handlers=HANDLERS)
    return project


@pytest.fixture(params=["prefork", "threads", "solo"])
def supervisor(request: pytest.FixtureRequest, shop: Project) -> Iterator[Supervisor]:
    """One worker of each pool, which is back whenever it has died."""
    with (shop.folder / "worker.log").open("w") as log:
        supervisor = Supervisor(backoff=Backoff(first=0.1, longest=0.5), output=log)
        supervisor.add(
            "worker",
            [sys.executable, "-m", "celery", "-A", "app.handlers", "worker", "--pool", request.param,
             "--concurrency", "1", "--without-mingle", "--without-gossip"],
            {"PYTHONPATH": f"{shop.folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        )  # fmt: skip
        with supervisor:
            yield supervisor


@pytest.mark.parametrize(("event", "name"), [("poison", "poisoned"), ("crash", "crashing")])
def test_it_is_dead_after_three_deliveries_and_its_neighbours_are_handled(
    shop: Project, supervisor: Supervisor, event: str, name: str
) -> None:
    shop.dispatch("hello", 1)
    shop.dispatch(event)
    shop.dispatch("hello", 2)
    shop.dispatch("hello", 3)

    assert shop.told("dead") == (
        f"{name}: DeliveredTooOften: its worker died 3 times while it had the message "
        "(killed, out of memory, crashed)"
    )
    assert {shop.told("handled") for _ in range(3)} == {"1", "2", "3"}
    assert len(set(shop.redis.lrange(name, 0, -1))) == 3  # three processes have died of it
