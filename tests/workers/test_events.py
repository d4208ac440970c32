"""`workers/` loads the engines that are installed, and says which is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SHOW = """
import logging, sys
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from workers.events import events

@events.register(event_name="cat*", queue="slow")
def feed(event): ...

for engine, handler in events.handlers.items():
    print(engine, [each.queue for each in handler.subscriptions])
"""


def run(code: str, *without: str, url: str = "redis://localhost:6379/0") -> subprocess.CompletedProcess[str]:
    """Run code where some libraries are not to be had."""
    hidden = "".join(f"import sys; sys.modules[{each!r}] = None\n" for each in without)
    return subprocess.run(
        [sys.executable, "-c", hidden + code], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={"FASTAPI_EVENTS_BROKER_URL": url},
    )  # fmt: skip


def test_with_both_a_function_is_registered_for_both() -> None:
    ran = run(SHOW)

    assert ran.stdout.splitlines() == ["dramatiq ['slow']", "celery ['slow']"]
    assert ran.stderr == ""


@pytest.mark.parametrize(("there", "missing"), [("dramatiq", "celery"), ("celery", "dramatiq")])
def test_with_one_it_is_registered_for_that_and_the_log_names_the_other(there: str, missing: str) -> None:
    ran = run(SHOW, missing)

    assert ran.stdout.splitlines() == [f"{there} ['slow']"]
    assert f"Functions are registered for {there} only. {missing} is not installed." in ran.stderr
    assert f"pip install 'fastapi-events[{missing}]'" in ran.stderr


def test_with_none_it_says_so() -> None:
    ran = run("import workers", "celery", "dramatiq")

    assert ran.returncode == 1
    assert "ConfigurationError: There is no engine to run functions with." in ran.stderr


@pytest.mark.parametrize("engine", ["dramatiq", "celery"])
def test_the_handler_of_an_engine_that_is_missing_says_what_to_install(engine: str) -> None:
    ran = run(f"import workers.{engine}", engine)

    assert ran.stderr.splitlines()[-1].endswith(f"pip install 'fastapi-events[{engine}]'")


def test_a_broker_whose_client_is_missing_says_what_to_install() -> None:
    ran = run("import workers.dramatiq", "pika", "celery", url="amqp://localhost:5672")

    assert "pip install 'fastapi-events[rabbitmq]'" in ran.stderr


def test_on_rabbitmq_the_engines_have_queues_of_their_own() -> None:
    ran = run(SHOW, url="amqp://localhost:5672")

    assert ran.stdout.splitlines() == ["dramatiq ['slow']", "celery ['slow.celery']"]
