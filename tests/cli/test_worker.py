"""`fastapi-events worker` runs each engine's own worker, brings it back, and lets it end."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fastapi_events.cli import main
from tests.processes import Project, until

EVENTS = {
    "dramatiq": """
        import dramatiq
        from dramatiq.brokers.redis import RedisBroker
        from fastapi_events.handlers.dramatiq import DramatiqHandler
        broker = RedisBroker(url="redis://localhost:6379/0", heartbeat_timeout=2_000)
        dramatiq.set_broker(broker)
        events = DramatiqHandler(broker, flush_deadline=30.0)
    """,
    "celery": """
        from celery import Celery
        from fastapi_events.handlers.celery import CeleryHandler
        broker = Celery("app", broker="redis://localhost:6379/0")
        broker.conf.broker_connection_retry_on_startup = True
        events = CeleryHandler(broker, flush_deadline=30.0)
    """,
}

HANDLERS = """
    import os
    import redis
    from app.events import broker, events

    tell = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True).rpush
    tell("imported", "first")

    @events.register(event_name="hello", name="hello")
    def hello(event):
        tell("handled", f"first {event.payload} {os.getpid()}")
"""

ARGUMENTS = {
    "dramatiq": ("--processes", "1", "--threads", "2"),
    "celery": ("--pool", "solo", "--without-mingle", "--without-gossip"),
}


def handled(project: Project, what: str) -> int:
    """Wait until an event is handled, by the process returned; another may be delivered again before it."""
    while (told := project.told("handled").rpartition(" "))[0] != what:
        pass
    return int(told[2])


DIES_AS_IT_STARTS = """
    import signal
    import dramatiq

    class Deadly(dramatiq.Middleware):
        def before_worker_boot(self, broker, worker):
            if tell("boots", "one") == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    broker.add_middleware(Deadly())
"""
"""As where the first message that a process takes ends it: Dramatiq waits for it to say that it is ready."""


@pytest.mark.valkey
@pytest.mark.acceptance
@pytest.mark.parametrize("engine", ["dramatiq", "celery"])
def test_it_brings_the_engines_worker_back_with_new_code_and_ends_with_it(
    project: Project, engine: str
) -> None:
    handlers = HANDLERS + (DIES_AS_IT_STARTS if engine == "dramatiq" else "")
    project.write(events=EVENTS[engine], handlers=handlers)
    command = ("worker", "app.handlers", "--grace", "5", "--reload", "--watch", "app")
    worker = project.start("fastapi_events", *command, "--", *ARGUMENTS[engine])

    # When: an event is dispatched, while the first process of Dramatiq's dies as it starts
    project.dispatch("hello", 1)
    # Then: that one is missed, and another handles it
    handled(project, "first 1")

    # When: a file is changed, and another event dispatched
    project.write(handlers=handlers.replace("first", "second"))
    while project.told("imported") != "second":
        pass
    project.dispatch("hello", 2)
    # Then: new code handles it
    pid = handled(project, "second 2")

    # When: the worker's process is killed, and another event dispatched
    os.kill(pid, signal.SIGKILL)
    project.dispatch("hello", 3)
    # Then: a new one handles it; SIGTERM ends all of them, and tells how
    pid = handled(project, "second 3")
    worker.send_signal(signal.SIGTERM)
    assert project.wait(worker) == 0
    until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the worker")


# Asked in a wrong way


@pytest.mark.valkey
@pytest.mark.acceptance
@pytest.mark.parametrize("engine", ["dramatiq", "celery"])
def test_an_argument_that_the_engine_does_not_take_ends_the_command(project: Project, engine: str) -> None:
    project.write(events=EVENTS[engine], handlers=HANDLERS)

    worker = project.start("fastapi_events", "worker", "app.handlers", "--", "--no-such-option", "2")

    assert project.wait(worker) == 2
    assert "no-such-option" in project.logs()
    assert "its command is wrong. Nothing is started again." in project.logs()


def test_a_module_that_does_not_exist(capsys: Any) -> None:
    assert main(["worker", "no_such_module"]) == 2
    assert "There is no module 'no_such_module' here" in capsys.readouterr().err


def test_a_module_without_a_handler(capsys: Any) -> None:
    assert main(["worker", "json"]) == 2
    assert "json holds no DramatiqHandler or CeleryHandler" in capsys.readouterr().err


def test_a_module_without_the_app_that_celery_looks_for(
    capsys: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "lonely_events.py").write_text(
        "import celery\nfrom fastapi_events.handlers.celery import CeleryHandler\n"
        "def make():\n    app = celery.Celery('x', broker='memory://', set_as_current=False)\n"
        "    return CeleryHandler(app, queue='lonely')\n"
        "events = make()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    assert main(["worker", "lonely_events"]) == 2
    assert "import it as well" in capsys.readouterr().err


def test_watch_without_reload_is_refused(capsys: Any) -> None:
    assert main(["worker", "json", "--watch", "app"]) == 2
    assert "pass --reload as well" in capsys.readouterr().err
