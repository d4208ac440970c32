"""RabbitMQ is killed and started again under a web process and a worker, which go on by themselves."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastapi_events.embedded.probe import free_port
from tests.integration.test_engines_and_brokers import BUILD
from tests.processes import Project, until
from tests.rabbitmq import Node, server_program

pytestmark = [pytest.mark.acceptance, pytest.mark.rabbitmq, pytest.mark.timeout(240)]

HANDLERS = """
    import redis
    from app.events import broker, events
    from fastapi_events.typing import Event

    tell = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True).rpush

    @events.register(event_name="order", name="charge")
    def charge(event: Event) -> None:
        tell("charged", event.payload["number"])
"""

WEB = """
    from fastapi import FastAPI, Response
    from app.events import events
    from fastapi_events.dispatcher import dispatch
    from fastapi_events.errors import NotPublished
    from fastapi_events.scope import collect_events

    app = FastAPI()

    @app.get("/")
    def index() -> None: ...

    @app.post("/orders/{number}")
    async def order(number: int, response: Response) -> str:
        try:
            async with collect_events([events], raise_errors=True):
                dispatch("order", payload={"number": number})
        except NotPublished as error:
            response.status_code = 503
            return str(error)
        return "confirmed"
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A RabbitMQ of the test's own, where RabbitMQ is installed."""
    if server_program() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("rabbitmq-server is not installed, and in CI it has to be")
        pytest.skip("rabbitmq-server is not installed")
    node = Node(tmp_path / "rabbitmq")
    try:
        node.start()
        yield node
    finally:
        node.close()


class Shop:
    """A web process whose answer says whether its event was confirmed, and a worker."""

    def __init__(self, project: Project, engine: str, url: str) -> None:
        self.project = project
        build = BUILD[f"{engine}-rabbitmq"].replace("URL", repr(url))
        project.write(
            events=build + "\n        events = Handler(broker, flush_deadline=2.0)\n",
            handlers=HANDLERS,
            web=WEB,
        )
        if engine == "dramatiq":
            self.worker = project.worker()
        else:
            self.worker = project.start(
                "celery", "-A", "app.handlers", "worker", "--pool", "threads", "--concurrency", "2",
                "--without-mingle", "--without-gossip", "--loglevel", "info",
            )  # fmt: skip
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.web = project.start("uvicorn", "app.web:app", "--port", str(port), "--no-access-log")
        until(self._answers, "an answer of the web process")
        self.confirmed: set[int] = set()
        self.charged: set[int] = set()
        self._next = 0

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.address, timeout=30).close()
        except urllib.error.URLError:
            return False
        return True

    def order(self) -> bool:
        """Order something; whether the event was confirmed."""
        self._next += 1
        request = urllib.request.Request(f"{self.address}/orders/{self._next}", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                assert json.load(response) == "confirmed"
        except urllib.error.HTTPError as refused:
            with refused:
                if refused.code != 503:
                    raise
                return False
        self.confirmed.add(self._next)
        return True

    def order_until_confirmed(self) -> None:
        for _ in range(60):
            if self.order():
                return
        raise AssertionError(f"no event is confirmed any more\n{self.project.logs()}")

    def wait_until_charged(self) -> None:
        """Wait until all that was confirmed is handled; it may be handled more than once."""
        while self.confirmed - self.charged:
            self.charged.add(int(self.project.told("charged")))


@pytest.mark.parametrize("engine", ["dramatiq", "celery"])
def test_workers_and_publishers_resume_and_nothing_confirmed_is_lost(
    engine: str, project: Project, node: Node
) -> None:
    # Given a web process that has published, and a worker that has worked
    shop = Shop(project, engine, node.url)
    shop.order_until_confirmed()
    shop.wait_until_charged()
    # When the broker dies in the middle of orders, and is away for some
    for _ in range(20):
        assert shop.order()
    node.kill()
    assert not shop.order()
    # and comes back
    node.start()
    shop.order_until_confirmed()
    for _ in range(20):
        assert shop.order()
    # Then nothing that was confirmed is lost, and neither process had to be started again
    shop.wait_until_charged()
    assert shop.web.poll() is None
    assert shop.worker.poll() is None
