"""A function is paused while real workers run it: its events wait, also through a restart."""

from __future__ import annotations

import os
import signal
import time
import uuid
from typing import Any

import pytest

from tests.integration.test_unlike_workers import ENGINES, IN_REDIS, function, module, start
from tests.processes import Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("broker", ["redis", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def test_a_paused_function_waits_and_its_sibling_goes_on(
    project: Project, engine: str, broker: str, request: pytest.FixtureRequest
) -> None:
    where: dict[str, Any] = {}
    if broker == "rabbitmq":
        where = {
            "url": request.getfixturevalue("amqp_url"), "queue": f"paused-{uuid.uuid4()}", "store": IN_REDIS,
            "settings": ", store=store",
        }  # fmt: skip
    sibling = """
    @events.register(event_name="cat*", name="feed")
    def feed(event):
        client.sadd("feed", event.payload["number"])
    """
    project.write(events=module(engine, **where), bill=function("bill") + sibling)
    worker = start(project, engine, "bill")

    def dispatch(first: int) -> None:
        project.run(
            "from app.events import events; from fastapi_events.dispatcher import dispatch\n"
            "from fastapi_events.scope import collect_events\n"
            f"with collect_events([events], raise_errors=True):\n"
            f"    for number in range({first}, {first} + 20): dispatch('cat', {{'number': number}})"
        )

    def handled(name: str) -> int:
        return int(project.redis.scard(name))

    # Given: a function is paused
    project.run("from app.bill import events; events.pause('bill')")
    time.sleep(2)  # what it promises: from then on nothing is started

    # When: events come, the worker is restarted, and more come
    dispatch(0)
    until(lambda: handled("feed") == 20, f"that the sibling goes on\n{project.logs()}")
    os.kill(worker.pid, signal.SIGTERM)
    project.wait(worker)
    start(project, engine, "bill")
    dispatch(20)
    until(lambda: handled("feed") == 40, f"that the sibling goes on\n{project.logs()}")
    assert handled("bill") == 0

    # Then: once it is resumed all of them are handled
    project.run("from app.bill import events; assert events.resume('bill')")
    until(lambda: handled("bill") == 40, f"that the function goes on\n{project.logs()}")


PROVIDER = """
    class ProviderDown(Exception):
        pass

    @events.register(event_name="cat*", name="bill", pause_on=ProviderDown, pause_for=1.0)
    def bill(event):
        client.incr("tried")
        if client.exists("down"):
            raise ProviderDown
        client.sadd("bill", event.payload["number"])
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_function_whose_provider_is_down_pauses_itself_and_tries_one_event(
    project: Project, engine: str
) -> None:
    project.write(events=module(engine), feed=function("feed"), bill=function("feed") + PROVIDER)
    start(project, engine, "bill")
    project.redis.set("down", "yes")

    # When: its provider is down, then each time one event finds that out, and its sibling goes on
    began = time.monotonic()
    project.run(
        "from app.events import events; from fastapi_events.dispatcher import dispatch\n"
        "from fastapi_events.scope import collect_events\n"
        "with collect_events([events], raise_errors=True):\n"
        "    for number in range(20): dispatch('cat', {'number': number})"
    )
    until(lambda: project.redis.scard("feed") == 20, f"that the sibling goes on\n{project.logs()}")
    until(lambda: int(project.redis.get("tried") or 0) >= 4, f"that more are tried\n{project.logs()}")
    tried, took = int(project.redis.get("tried")), time.monotonic() - began
    assert tried <= 2 + took  # the worker's two threads at first, then one after each second of a pause

    # Then: once it is back one is tried, and all go on; none of the attempts counted
    project.redis.delete("down")
    until(lambda: project.redis.scard("bill") == 20, f"that all go on\n{project.logs()}")
    assert "starts nothing for 1 s; then one event is tried" in project.logs()
    project.run("from app.bill import events; assert events.paused() == ()")
