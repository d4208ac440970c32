"""How Dramatiq's workers end, by their own will or not, with the settings that we ship."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.fork_server import ForkedProcess
from tests.processes import Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

REPOSITORY = str(Path(__file__).parents[2])

SHOP = """
import asyncio
import time
import redis
from workers.events import events, settings

client = redis.Redis.from_url(settings.broker_url, decode_responses=True)
tell = client.rpush

@events.register(event_name="slow")
def slow(event):
    tell("started", event.id)
    while not client.exists("gate"):
        time.sleep(0.01)
    tell("finished", event.id)

@events.register(event_name="slow-async")
async def slow_async(event):
    tell("started", event.id)
    while not client.exists("gate"):
        await asyncio.sleep(0.01)
    tell("finished", event.id)
"""


class Shop:
    """The workers of this repository, with one module of functions."""

    def __init__(self, project: Project) -> None:
        self.project = project
        (project.folder / "shop.py").write_text(SHOP)
        project.write(
            events="""
                from fastapi_events.handlers.dramatiq import DramatiqHandler
                from dramatiq.brokers.redis import RedisBroker
                events = DramatiqHandler(RedisBroker(url="redis://localhost:6379/0"))
            """
        )

    def worker(self, *arguments: str) -> ForkedProcess:
        return self.project.start(
            "dramatiq", "workers", "--processes", "1", "--threads", "2", *arguments,
            FASTAPI_EVENTS_BROKER_URL=self.project.url, FASTAPI_EVENTS_HANDLERS="shop",
            PYTHONPATH=f"{REPOSITORY}:{self.project.folder}",
        )  # fmt: skip


@pytest.fixture
def shop(project: Project) -> Shop:
    return Shop(project)


def test_the_work_of_a_killed_worker_is_done_by_another(shop: Shop) -> None:
    # Given a worker that is killed in the middle of a function
    worker = shop.worker()
    shop.project.dispatch("slow")
    event = shop.project.told("started")
    shop.project.kill_group(worker, signal.SIGKILL)
    shop.project.wait(worker)
    # When another has been there for long enough to miss it
    shop.project.redis.set("gate", "open")
    shop.worker()
    # Then it does the work
    assert shop.project.told("started") == event
    assert shop.project.told("finished") == event


@pytest.mark.parametrize("name", ["slow", "slow-async"])
def test_a_second_sigterm_ends_a_worker_at_once(shop: Shop, name: str) -> None:
    # Given a worker that waits for a function after a first SIGTERM
    worker = shop.worker()
    shop.project.dispatch(name)
    shop.project.told("started")
    worker.send_signal(signal.SIGTERM)
    until(lambda: "Shutting down" in shop.project.logs(), "the first signal's effect")
    # When there is a second
    worker.send_signal(signal.SIGTERM)
    # Then it ends, though the function does not
    assert shop.project.wait(worker) != 0
    assert not shop.project.redis.exists("finished")


@pytest.mark.parametrize("name", ["slow", "slow-async"])
def test_a_sigterm_lets_functions_finish(shop: Shop, name: str) -> None:
    worker = shop.worker()
    shop.project.dispatch(name)
    event = shop.project.told("started")
    worker.send_signal(signal.SIGTERM)
    until(lambda: "Shutting down" in shop.project.logs(), "the signal's effect")
    shop.project.redis.set("gate", "open")
    assert shop.project.wait(worker) == 0
    assert shop.project.told("finished") == event
    assert shop.project.redis.hlen("dramatiq:events.msgs") == 0


def test_what_outlasts_the_shutdown_timeout_is_delivered_again(shop: Shop) -> None:
    # Given a worker that may take half a second to stop, and a function that takes longer
    worker = shop.worker("--worker-shutdown-timeout", "500")
    shop.project.dispatch("slow")
    event = shop.project.told("started")
    worker.send_signal(signal.SIGTERM)
    assert shop.project.wait(worker) == 0
    assert not shop.project.redis.exists("finished")
    # Then another gets the message once the first is missed
    shop.project.redis.set("gate", "open")
    shop.worker()
    assert shop.project.told("started") == event
    assert shop.project.told("finished") == event
