"""A message that kills its worker again and again, in real worker processes on real brokers."""

from __future__ import annotations

import signal
import uuid

import pytest

from tests.processes import Project, until

pytestmark = pytest.mark.acceptance

BROKERS = {
    "valkey": """
        from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
        broker = SafeRedisBroker(url=URL, heartbeat_timeout=1_000, maintenance_chance=1_000_000)
    """,
    "rabbitmq": """
        from dramatiq.brokers.rabbitmq import RabbitmqBroker
        broker = RabbitmqBroker(url=URL, confirm_delivery=True)
    """,
}

EVENTS = """
        import dramatiq
        from fastapi_events.handlers.dramatiq import DramatiqHandler
        dramatiq.set_broker(broker)
        events = DramatiqHandler(broker, queue=QUEUE)
"""

HANDLERS = """
    import os
    import redis
    from app.events import events
    from fastapi_events.lifecycle import Lifecycle, observe
    from fastapi_events.typing import Event

    tell = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True).rpush

    class Tell(Lifecycle):
        def dead(self, event, *, subscription, reason, attempts):
            tell("dead", f"{subscription} {attempts} {reason}")

    observe(Tell())

    @events.register(event_name="order", name="ship", queue=events.queue + "-ship")
    def ship(event: Event) -> None:
        if event.payload == "poison":
            tell("killed", event.id)
            os._exit(1)
        tell("shipped", event.payload)

    @events.register(event_name="closing")
    def close(event: Event) -> None:
        tell("closed", event.id)
"""


@pytest.fixture(
    params=[
        pytest.param("valkey", marks=pytest.mark.valkey),
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, project: Project, request: pytest.FixtureRequest) -> str:
    return project.url if kind == "valkey" else str(request.getfixturevalue("amqp_url"))


def test_a_message_that_kills_its_workers_is_given_up_and_its_neighbours_are_handled(
    project: Project, kind: str, url: str
) -> None:
    # Given a poisonous event among good ones, the first of them all
    queue = f"q{uuid.uuid4().hex[:8]}"
    project.write(
        events=(BROKERS[kind] + EVENTS).replace("URL", repr(url)).replace("QUEUE", repr(queue)),
        handlers=HANDLERS,
    )
    project.run(
        "from app.events import events; from fastapi_events.dispatcher import dispatch;"
        "from fastapi_events.scope import collect_events\n"
        "with collect_events([events], raise_errors=True):\n"
        "    dispatch('order', 'poison')\n"
        "    for number in range(12): dispatch('order', f'good {number}')\n"
        "    dispatch('closing')\n"
    )
    fanning_out = project.worker("--queues", queue)
    project.told("closed")
    fanning_out.send_signal(signal.SIGTERM)
    project.wait(fanning_out)
    # When a supervisor starts another worker whenever one has died of it
    while not project.redis.exists("dead"):
        worker = project.worker("--queues", f"{queue}-ship")
        until(lambda worker=worker: worker.poll() is not None or project.redis.exists("dead"), "an end")
    crashes = project.redis.llen("killed")
    # Then it is given up after three of them; on Redis the first is not always counted
    assert project.told("dead") == (
        "ship 3 DeliveredTooOften: its worker died 3 times while it had the message "
        "(killed, out of memory, crashed)"
    )
    assert crashes in ((3, 4) if kind == "valkey" else (3,))
    # And every neighbour is handled
    shipped = set()
    while len(shipped) < 12:
        shipped.add(project.told("shipped"))
    assert shipped == {f"good {number}" for number in range(12)}
    assert project.redis.lrange("dead", 0, -1) == []
