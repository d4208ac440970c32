"""Dramatiq and Celery, each on Valkey and on RabbitMQ, with real worker processes.

Four combinations, one behaviour. Only the lines that build the handler differ.
"""

from __future__ import annotations

import signal
import uuid
from typing import Any

import pytest

from tests.fork_server import ForkedProcess
from tests.processes import Project

pytestmark = pytest.mark.acceptance

BUILD = {
    "dramatiq-valkey": """
        import dramatiq
        from dramatiq.brokers.redis import RedisBroker
        from fastapi_events.handlers.dramatiq import DramatiqHandler as Handler
        broker = RedisBroker(url=URL, heartbeat_timeout=2_000, maintenance_chance=1_000_000)
        dramatiq.set_broker(broker)
    """,
    "dramatiq-rabbitmq": """
        import dramatiq
        from dramatiq.brokers.rabbitmq import RabbitmqBroker
        from fastapi_events.handlers.dramatiq import DramatiqHandler as Handler
        broker = RabbitmqBroker(url=URL, confirm_delivery=True)
        dramatiq.set_broker(broker)
    """,
    "celery-valkey": """
        from celery import Celery
        from fastapi_events.handlers.celery import CeleryHandler as Handler
        broker = Celery("app", broker=URL)
        broker.conf.broker_transport_options = {
            "visibility_timeout": 5, "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
        }
    """,
    "celery-rabbitmq": """
        from celery import Celery
        from fastapi_events.handlers.celery import CeleryHandler as Handler
        broker = Celery("app", broker=URL)
    """,
}

HANDLERS = """
    import asyncio
    import redis
    import time
    from app.events import broker, events
    from fastapi_events.dispatcher import dispatch
    from fastapi_events.lifecycle import Lifecycle, observe
    from fastapi_events.retry import RetryPolicy
    from fastapi_events.typing import Event
    from pydantic import BaseModel

    tell = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True).rpush

    class Tell(Lifecycle):
        def dead(self, event, *, subscription, reason, attempts):
            tell("dead", f"{subscription} {attempts} {reason}")

    observe(Tell())

    class Order(BaseModel):
        __event_name__ = "order"
        number: int

    @events.register(Order, name="charge")
    async def charge(order: Order) -> None:
        tell("charged", order.number)
        dispatch("charged", payload={"number": order.number})

    @events.register(event_name="charged", name="ship", queue=events.queue + "-ship")
    def ship(event: Event) -> None:
        tell("shipped", f"{event.payload['number']} {'causationid' in event.headers}")

    once_more = RetryPolicy(max_retries=1, min_backoff=0.1, max_backoff=1.0)

    @events.register(event_name="bad", name="hopeless", retry=once_more)
    def hopeless(event: Event) -> None:
        tell("tried", event.id)
        raise ValueError("never")

    @events.register(event_name="slow", name="slow")
    def slow(event: Event) -> None:
        tell("started", event.id)
        while not redis.Redis.from_url("redis://localhost:6379/0").exists("gate"):
            time.sleep(0.01)
        tell("finished", event.id)
"""


class Combination:
    """A project on one engine and one broker."""

    def __init__(self, project: Project, kind: str, url: str) -> None:
        self.engine, _, self.broker = kind.partition("-")
        self.project = project
        self.queue = f"q{uuid.uuid4().hex[:8]}"
        build = BUILD[kind].replace("URL", repr(url))
        project.write(
            events=build
            + f"""
        from fastapi_events.retry import RetryPolicy
        retry = RetryPolicy(max_backoff=2.0)
        events = Handler(broker, queue={self.queue!r}, retry=retry, flush_deadline=20.0)
    """,
            handlers=HANDLERS,
        )

    def worker(self, *, pool: str = "prefork") -> ForkedProcess:
        if self.engine == "dramatiq":
            return self.project.worker()
        return self.project.start(
            "celery", "-A", "app.handlers", "worker", "--pool", pool, "--concurrency", "2",
            "--without-mingle", "--without-gossip",
        )  # fmt: skip


@pytest.fixture(
    params=[
        pytest.param(kind, marks=pytest.mark.rabbitmq if kind.endswith("rabbitmq") else pytest.mark.valkey)
        for kind in BUILD
    ]
)
def combination(request: pytest.FixtureRequest, project: Project) -> Combination:
    on_rabbitmq = request.param.endswith("rabbitmq")
    url = request.getfixturevalue("amqp_url") if on_rabbitmq else project.url
    return Combination(project, request.param, url)


def test_events_are_handled_chained_retried_and_given_up(combination: Combination) -> None:
    combination.worker()
    told = combination.project.told

    combination.project.dispatch("order", {"number": 7})
    assert told("charged") == "7"
    assert told("shipped") == "7 True"

    combination.project.dispatch("bad")
    assert told("tried") == told("tried")
    assert told("dead") == "hopeless 2 ValueError: never"

    combination.project.dispatch("order", {"number": "many"})
    assert told("dead").startswith("charge 1 InvalidPayload")


def test_sigterm_lets_a_function_finish(combination: Combination) -> None:
    worker = combination.worker()
    combination.project.dispatch("slow")
    event = combination.project.told("started")

    worker.send_signal(signal.SIGTERM)
    combination.project.redis.set("gate", "open")

    assert combination.project.wait(worker) == 0
    assert combination.project.told("finished") == event
    assert combination.project.redis.lrange("started", 0, -1) == []


def test_the_work_of_a_killed_worker_is_done_by_another(combination: Combination) -> None:
    worker = combination.worker()
    combination.project.dispatch("slow")
    event = combination.project.told("started")

    combination.project.kill_group(worker, signal.SIGKILL)
    combination.project.wait(worker)
    combination.project.redis.set("gate", "open")
    combination.worker()

    assert combination.project.told("started") == event
    assert combination.project.told("finished") == event


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_celery_runs_async_functions_in_every_pool(project: Project, pool: str) -> None:
    combination = Combination(project, "celery-valkey", project.url)
    combination.worker(pool=pool)

    project.dispatch("order", {"number": 1})
    project.dispatch("order", {"number": 2})

    assert {project.told("charged"), project.told("charged")} == {"1", "2"}


def test_a_plain_client_of_the_engine_can_produce_an_event(combination: Combination) -> None:
    combination.worker()
    envelope: dict[str, Any] = {
        "specversion": "1.0", "id": "1", "source": "elsewhere", "type": "order", "data": {"number": 9},
    }  # fmt: skip
    fan_out = f"fastapi_events.fan_out.{combination.queue}"
    send = {
        "dramatiq": "import dramatiq; broker.enqueue(dramatiq.Message("
        f"queue_name={combination.queue!r}, actor_name={fan_out!r}, args=([{envelope!r}],), "
        "kwargs={}, options={}))",
        "celery": f"broker.send_task({fan_out!r}, args=[[{envelope!r}]], queue={combination.queue!r})",
    }[combination.engine]
    combination.project.run(f"from app.events import broker; {send}")

    assert combination.project.told("charged") == "9"
