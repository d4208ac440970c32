"""`fastapi-events status` of real workers, on both engines and both brokers."""

from __future__ import annotations

import json
import signal
import time
import uuid
from typing import Any

import pytest

from tests.integration.test_engines_and_brokers import BUILD
from tests.processes import PATIENCE_SECONDS, Project

pytestmark = pytest.mark.acceptance

HANDLERS = """
    import redis
    import time
    from app.events import broker, events
    from fastapi_events.retry import RetryPolicy
    from fastapi_events.typing import Event

    tell = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True)

    @events.register(event_name="held", name="hold")
    def hold(event: Event) -> None:
        tell.rpush("started", event.id)
        while not tell.exists("gate"):
            time.sleep(0.01)

    @events.register(event_name="bad", name="hopeless", retry=RetryPolicy(max_retries=0, max_backoff=2.0))
    def hopeless(event: Event) -> None:
        raise ValueError("never")
"""


class Shop:
    """A project, and what `status` says of it."""

    def __init__(self, project: Project, kind: str, url: str) -> None:
        self.project = project
        self.engine, _, self.broker = kind.partition("-")
        self.queue = f"q{uuid.uuid4().hex[:8]}"
        handler = f"events = Handler(broker, queue={self.queue!r}, retry=RetryPolicy(max_backoff=2.0))"
        build = BUILD[kind].replace("URL", repr(url))
        policy = "from fastapi_events.retry import RetryPolicy"
        project.write(events=f"{build}\n        {policy}\n        {handler}\n", handlers=HANDLERS)

    def worker(self) -> Any:
        if self.engine == "dramatiq":
            return self.project.worker()
        return self.project.start("celery", "-A", "app.handlers", "worker", "-P", "threads", "-c", "2")

    def status(self) -> tuple[int, dict[str, Any]]:
        """The exit code, and what it has printed as JSON."""
        before = set(self.project.folder.glob("*.log"))
        process = self.project.start("fastapi_events", "status", "app.handlers", "--json")
        code = self.project.wait(process)
        [log] = set(self.project.folder.glob("*.log")) - before
        lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
        assert lines, log.read_text()
        return code, json.loads(lines[-1])

    def becomes(self, holds: Any) -> tuple[int, dict[str, Any]]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds(*(found := self.status())):
            assert time.monotonic() < deadline, f"{found}\n{self.project.logs()}"
        return found


@pytest.fixture(
    params=[
        pytest.param("dramatiq-valkey", marks=pytest.mark.valkey),
        pytest.param("dramatiq-rabbitmq", marks=pytest.mark.rabbitmq),
        pytest.param("celery-valkey", marks=pytest.mark.valkey),
        pytest.param("celery-rabbitmq", marks=pytest.mark.rabbitmq),
    ]
)
def shop(request: pytest.FixtureRequest, project: Project) -> Shop:
    url = project.url
    if request.param.endswith("rabbitmq"):
        url = request.getfixturevalue("amqp_url")
    return Shop(project, request.param, url)


def queue_of(found: dict[str, Any]) -> dict[str, Any]:
    [queue] = found["queues"]
    return queue  # type: ignore[no-any-return]


def test_status_tells_what_waits_who_works_and_what_needs_a_person(shop: Shop) -> None:
    # Given events, and no worker
    shop.project.dispatch("held")
    code, found = shop.becomes(lambda _, found: queue_of(found)["ready"] == 1)
    assert code == 1
    assert queue_of(found)["is_consumed"] is False
    assert found["problems"][0].startswith(f"Nobody consumes queue '{shop.queue}', in which 1 message waits")

    # When a worker comes and is at one
    worker = shop.worker()
    shop.project.told("started")

    # Then it is fine
    code, found = shop.becomes(lambda code, found: code == 0 and queue_of(found)["ready"] == 0)
    queue = queue_of(found)
    assert queue["is_consumed"] is True
    if shop.broker == "rabbitmq":
        assert queue["consumers"] >= 1
        assert queue["in_hand"] is None
    else:
        assert queue["in_hand"] == 1
        assert len(queue["workers"]) == 1
        states = {each["name"]: each["state"] for each in found["subscriptions"]}
        assert states == {"hold": "running", "hopeless": "running"}
    shop.project.redis.set("gate", "open")

    # And what is given up needs a person
    shop.project.dispatch("bad")
    code, found = shop.becomes(lambda _, found: queue_of(found)["dead"] == 1)
    assert code == 1
    assert found["problems"] == [f"1 message of queue '{shop.queue}' given up, kept by the engine."]

    # And when the worker has gone, nobody consumes the queue
    shop.project.kill_group(worker, signal.SIGTERM)
    shop.project.wait(worker)
    shop.becomes(lambda _, found: queue_of(found)["is_consumed"] is False)
