"""Two processes, one broker: what users do first, and what happens when a worker is stopped or killed."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from pathlib import Path

import pytest

from fastapi_events.embedded.probe import free_port
from tests.processes import Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

EVENTS = """
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from fastapi_events.handlers.dramatiq import DramatiqHandler

    # A worker that was killed is missed soon, so that the test need not wait.
    soon = {"heartbeat_timeout": 2_000, "maintenance_chance": 1_000_000}
    broker = RedisBroker(url="redis://localhost:6379/0", **soon)
    dramatiq.set_broker(broker)
    events = DramatiqHandler(broker, flush_deadline=30.0)
"""

TELL = """
    import redis
    from app.events import events

    tell = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True).rpush
"""


def post(url: str) -> int:
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10) as response:
        return int(response.status)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def files_of_the_readme() -> dict[str, str]:
    readme = Path(__file__).parents[2] / "README.md"
    blocks = re.findall(r'```python title="app/(\w+)\.py"\n(.*?)```', readme.read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == ["events", "web", "handlers"]
    return dict(blocks)


def test_the_three_files_of_the_readme_work_as_they_stand(project: Project) -> None:
    project.write(**files_of_the_readme())
    port = free_port()
    assert project.wait(project.start("fastapi_events", "outbox", "setup", "app.events")) == 0, project.logs()
    project.start("uvicorn", "app.web:app", "--port", str(port))
    project.start("fastapi_events", "worker", "app.handlers")
    until(lambda: answers(f"http://127.0.0.1:{port}/docs"), "the web process's first answer")

    assert post(f"http://127.0.0.1:{port}/cats/7/fish") == 202

    until(lambda: "cat-requested-a-fish: {'cat_id': 7}" in project.logs(), "the print of the handler")


def test_a_request_is_handled_by_another_process(project: Project) -> None:
    project.write(
        events=EVENTS,
        web="""
            from fastapi import FastAPI
            from app.events import events
            from fastapi_events.dispatcher import dispatch
            from fastapi_events.middleware import EventHandlerASGIMiddleware

            app = FastAPI()
            app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])

            @app.post("/cats/{cat_id}", status_code=202)
            def request_fish(cat_id: int) -> None:
                dispatch("cat-requested-a-fish", payload={"cat_id": cat_id})
        """,
        handlers=TELL
        + """
    import asyncio, os
    from contextlib import asynccontextmanager
    from typing import Annotated
    from fastapi import Depends
    from pydantic import BaseModel
    from fastapi_events.typing import Event

    class CatRequestedAFish(BaseModel):
        __event_name__ = "cat-requested-a-fish"
        cat_id: int

    async def get_loop():
        yield id(asyncio.get_running_loop())

    @events.register(event_name="cat*")
    async def feed(event: Event, loop: Annotated[int, Depends(get_loop)]) -> None:
        name, payload = event
        tell("fed", f"{payload['cat_id']} {os.getpid()} {loop} {id(asyncio.get_running_loop())}")

    @events.register(CatRequestedAFish, queue="kitchen")
    def cook(order: CatRequestedAFish) -> None:
        tell("cooked", order.model_dump_json())
""",
    )
    port = free_port()
    web = project.start("uvicorn", "app.web:app", "--port", str(port))
    project.worker()
    until(lambda: answers(f"http://127.0.0.1:{port}/docs"), "the web process's first answer")

    for cat in range(3):
        assert post(f"http://127.0.0.1:{port}/cats/{cat}") == 202

    fed = [project.told("fed").split() for _ in range(3)]
    assert sorted(cat for cat, *_ in fed) == ["0", "1", "2"]
    assert all(int(pid) != web.pid for _, pid, *_ in fed)
    assert (
        len({loop for _, _, *loops in fed for loop in loops}) == 1
    )  # one loop, as long as the process lives
    assert sorted(json.loads(project.told("cooked"))["cat_id"] for _ in range(3)) == [0, 1, 2]


def test_the_web_process_delivers_what_is_pending_when_it_is_stopped(project: Project) -> None:
    project.write(
        events=EVENTS,
        web="""
            from fastapi import BackgroundTasks, FastAPI
            from app.events import events
            from fastapi_events.dispatcher import dispatch
            from fastapi_events.middleware import EventHandlerASGIMiddleware

            app = FastAPI()
            app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])

            @app.post("/", status_code=202)
            async def request(background: BackgroundTasks) -> None:
                dispatch("last-words")
        """,
        handlers=TELL
        + """
    @events.register
    def hear(event):
        tell("heard", event.name)
""",
    )
    port = free_port()
    web = project.start("uvicorn", "app.web:app", "--port", str(port))
    until(lambda: answers(f"http://127.0.0.1:{port}/docs"), "the web process's first answer")

    post(f"http://127.0.0.1:{port}/")
    web.send_signal(signal.SIGTERM)
    project.wait(web)
    project.worker()

    assert project.told("heard") == "last-words"


SLOW = (
    TELL
    + """
    import time

    @events.register(event_name="slow")
    def slow(event):
        tell("started", event.id)
        while not gate():
            time.sleep(0.01)
        tell("finished", event.id)

    @events.register(event_name="slow")
    async def sibling(event):
        tell("sibling", event.id)

    def gate():
        return redis.Redis.from_url("redis://localhost:6379/0").exists("gate")
"""
)


def test_sigterm_during_a_function_lets_it_finish(project: Project) -> None:
    project.write(events=EVENTS, handlers=SLOW)
    worker = project.worker()
    project.dispatch("slow")
    event = project.told("started")

    worker.send_signal(signal.SIGTERM)
    project.redis.set("gate", "open")

    assert project.wait(worker) == 0
    assert project.told("finished") == event
    assert project.redis.lrange("started", 0, -1) == []
    assert project.redis.hlen("dramatiq:events.msgs") == 0


def test_a_worker_that_is_killed_has_its_work_done_by_another(project: Project) -> None:
    project.write(events=EVENTS, handlers=SLOW)
    worker = project.worker()
    project.dispatch("slow")
    event = project.told("started")
    assert project.told("sibling") == event
    until(lambda: project.redis.hlen("dramatiq:events.msgs") == 1, "the sibling's acknowledgement")

    project.kill_group(worker, signal.SIGKILL)
    project.wait(worker)
    project.redis.set("gate", "open")
    project.worker()

    assert project.told("started") == event
    assert project.told("finished") == event
    assert project.redis.lrange("sibling", 0, -1) == []  # it had been done, and is not done again


def test_a_deployment_is_configured_by_the_environment(project: Project) -> None:
    (project.folder / "shop.py").write_text(
        "import redis\n"
        "from workers.events import events, settings\n"
        "tell = redis.Redis.from_url(settings.broker_url).rpush\n"
        "@events.register(event_name='order*')\n"
        "def ship(event):\n"
        "    tell('shipped', event.headers['source'])\n"
    )
    project.write(
        events="""
            from fastapi_events.handlers.dramatiq import DramatiqHandler
            from dramatiq.brokers.redis import RedisBroker
            events = DramatiqHandler(RedisBroker(url="redis://localhost:6379/0"), queue="shop", source="web")
        """
    )
    repository = str(Path(__file__).parents[2])
    project.start(
        "dramatiq", "workers", "--processes", "1",
        FASTAPI_EVENTS_BROKER_URL=project.url, FASTAPI_EVENTS_HANDLERS="shop", FASTAPI_EVENTS_QUEUE="shop",
        PYTHONPATH=f"{repository}:{project.folder}",
    )  # fmt: skip

    project.dispatch("order-placed")

    assert project.told("shipped") == "web"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("FASTAPI_EVENTS_HANDLERS", "no.such.module", "No module named 'no'"),
        ("FASTAPI_EVENTS_BROKER_URL", "localhost", "FASTAPI_EVENTS_BROKER_URL"),
    ],
)
def test_a_wrong_setting_says_which(project: Project, variable: str, value: str, said: str) -> None:
    repository = str(Path(__file__).parents[2])
    settings = {"FASTAPI_EVENTS_BROKER_URL": project.url, variable: value}

    # By the command, which imports the module itself: Dramatiq may drop what its processes have printed last.
    worker = project.start("fastapi_events", "worker", "workers", PYTHONPATH=repository, **settings)

    assert project.wait(worker) != 0
    assert said in project.logs()
