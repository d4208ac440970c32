"""Workers of one handler that import different modules: each function gets every event."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.processes import Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

EVENTS = 300

DRAMATIQ = """
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from fastapi_events.handlers.dramatiq import DramatiqHandler
    broker = RedisBroker(url="redis://localhost:6379/0")
    dramatiq.set_broker(broker)
    events = DramatiqHandler(broker, flush_deadline=20.0)
"""

CELERY = """
    from celery import Celery
    from fastapi_events.handlers.celery import CeleryHandler
    broker = Celery("app", broker="redis://localhost:6379/0")
    broker.conf.broker_connection_retry_on_startup = True
    events = CeleryHandler(broker, flush_deadline=20.0)
"""

ENGINES = pytest.mark.parametrize("engine", ["dramatiq", "celery"])


def function(name: str) -> str:
    """A module with one function, which counts the events that it has handled."""
    return f"""
        import redis
        from app.events import broker, events

        client = redis.Redis.from_url("redis://localhost:6379/0")

        @events.register(event_name="cat*", name="{name}")
        def {name}(event):
            client.sadd("{name}", event.payload["number"])
    """


def start(project: Project, engine: str, module: str) -> Any:
    """Start a worker that knows one module, and wait until it says that it is ready."""
    if engine == "dramatiq":
        command = ("dramatiq", f"app.{module}", "--processes", "1", "--threads", "2")
        says = "is ready for action"
    else:
        command = (
            "celery", "-A", f"app.{module}", "worker", "-P", "threads", "-c", "2", "-n", f"{module}@%h",
            "--loglevel", "info",
        )  # fmt: skip
        says = " ready."
    before = project.logs().count(says)
    worker = project.start(*command)
    until(lambda: project.logs().count(says) > before, f"{module}'s start")
    return worker


def publish(project: Project, first: int, count: int = EVENTS) -> None:
    project.run(
        "from app.events import events; from fastapi_events.dispatcher import dispatch;"
        "from fastapi_events.scope import collect_events\n"
        f"for begin in range({first}, {first + count}, 10):\n"
        "    with collect_events([events], raise_errors=True):\n"
        f"        for number in range(begin, min(begin + 10, {first + count})):\n"
        '            dispatch("cat-fed", {"number": number})\n'
    )


def handled(project: Project, name: str, count: int) -> None:
    until(lambda: project.redis.scard(name) >= count, f"{name}: {count} events\n{project.logs()}")
    assert project.redis.scard(name) == count


@ENGINES
def test_two_unlike_workers_handle_every_event_with_each_function(project: Project, engine: str) -> None:
    project.write(
        events=DRAMATIQ if engine == "dramatiq" else CELERY, mail=function("mail"), bills=function("bill")
    )
    start(project, engine, "mail")
    start(project, engine, "bills")

    publish(project, 0)

    handled(project, "mail", EVENTS)
    handled(project, "bill", EVENTS)


@ENGINES
def test_events_wait_for_a_function_while_none_of_its_workers_runs(project: Project, engine: str) -> None:
    project.write(
        events=DRAMATIQ if engine == "dramatiq" else CELERY, mail=function("mail"), bills=function("bill")
    )
    start(project, engine, "mail")
    bills = start(project, engine, "bills")
    project.kill_group(bills, signal.SIGKILL)
    project.wait(bills)

    publish(project, 0, 50)
    handled(project, "mail", 50)
    assert project.redis.scard("bill") == 0

    start(project, engine, "bills")
    handled(project, "bill", 50)


@ENGINES
def test_a_function_added_later_gets_all_that_is_published_once_its_worker_is_ready(
    project: Project, engine: str
) -> None:
    project.write(
        events=DRAMATIQ if engine == "dramatiq" else CELERY, mail=function("mail"), bills=function("bill")
    )
    start(project, engine, "mail")
    publish(project, 0, 20)
    handled(project, "mail", 20)

    start(project, engine, "bills")
    publish(project, 100, 100)

    handled(project, "mail", 120)
    handled(project, "bill", 100)
