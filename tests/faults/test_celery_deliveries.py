"""A message that kills its worker again and again is given up, on both brokers and in every pool."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fastapi_events.embedded import Backoff, Supervisor
from tests.processes import Project

pytestmark = [pytest.mark.acceptance]


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
    events = CeleryHandler(broker, queue={queue!r}, retry=RetryPolicy(max_backoff=1.0), flush_deadline=10.0)
"""

HANDLERS = """
    import os
    import signal
    import time
    import redis
    from app.events import broker, events
    from fastapi_events.lifecycle import Lifecycle, observe
    from fastapi_events.typing import Event

    client = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True)
    tell = client.rpush

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

    @events.register(event_name="beside", name="beside")
    def beside(event: Event) -> None:
        tell("beside", event.payload)
        while not client.exists("first-death"):
            time.sleep(0.02)
        client.sadd("done", event.payload)
        tell("handled", event.payload)

    def kept():
        return client.llen(events.queue), client.hlen("unacked"), client.scard("done")

    @events.register(event_name="killer", name="killer")
    def killer(event: Event) -> None:
        if not client.exists("first-death"):
            while client.llen("beside") < 3:
                time.sleep(0.02)
            client.set("first-death", "yes")
        seen = None
        while (now := kept()) != seen:  # Redis loses what a worker is fetching in the moment of its death
            seen = now
            time.sleep(0.3)
        tell("killer", os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)
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
        url = request.getfixturevalue("amqp_url")
    queue = f"q{uuid.uuid4().hex[:8]}"
    project.write(events=EVENTS.format(url=url, queue=queue), handlers=HANDLERS)
    return project


@contextmanager
def supervised(shop: Project, pool: str, concurrency: int) -> Iterator[Supervisor]:
    with (shop.folder / "worker.log").open("w") as log:
        supervisor = Supervisor(backoff=Backoff(first=0.1, longest=0.5), output=log)
        supervisor.add(
            "worker",
            [sys.executable, "-m", "celery", "-A", "app.handlers", "worker", "--pool", pool,
             "--concurrency", str(concurrency), "--hostname", f"{uuid.uuid4()}@here",
             "--without-mingle", "--without-gossip"],
            {"PYTHONPATH": f"{shop.folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        )  # fmt: skip
        with supervisor:
            yield supervisor


@pytest.fixture(params=["prefork", "threads", "solo"])
def pool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def supervisor(pool: str, shop: Project) -> Iterator[Supervisor]:
    """One worker of each pool, which is back whenever it has died."""
    with supervised(shop, pool, concurrency=1) as supervisor:
        yield supervisor


def test_it_is_dead_after_three_deliveries_and_its_neighbours_are_handled(
    shop: Project, supervisor: Supervisor, pool: str
) -> None:
    event, name = ("crash", "crashing") if pool == "threads" else ("poison", "poisoned")
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


def test_what_runs_beside_it_does_not_die_with_it(shop: Project) -> None:
    with supervised(shop, "threads", concurrency=4):
        # Given: a message that kills its worker, which runs eight others at the same time or holds them
        shop.run(DISPATCH_ALL)

        # Then: that one is dead, and all others are handled
        assert shop.told("dead").startswith("killer: DeliveredTooOften: its worker died 3 times")
        handled: set[str] = set()
        while len(handled) < 8:  # one that had told before its worker died, tells twice
            handled.add(shop.told("handled"))
        assert shop.redis.llen("killer") == 3
        assert shop.redis.llen("dead") == 0


DISPATCH_ALL = """
from app.events import events
from fastapi_events.dispatcher import dispatch
from fastapi_events.scope import collect_events
with collect_events([events], raise_errors=True):
    dispatch("killer")
    for number in range(8):
        dispatch("beside", number)
"""
