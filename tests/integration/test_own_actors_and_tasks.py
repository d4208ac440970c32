"""Actors and tasks of an application's own dispatch events, in real worker processes."""

from __future__ import annotations

import pytest

from tests.processes import Project

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

DRAMATIQ = """
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from fastapi_events.handlers.dramatiq import DramatiqHandler, ScopeMiddleware
    broker = RedisBroker(url="redis://localhost:6379/0")
    dramatiq.set_broker(broker)
    events = DramatiqHandler(broker, flush_deadline=10.0)
    broker.add_middleware(ScopeMiddleware([events]))
    own = dramatiq.actor(max_retries=1, min_backoff=1, max_backoff=1)
"""

CELERY = """
    from celery import Celery
    from fastapi_events.handlers.celery import CeleryHandler, open_scopes
    broker = Celery("app", broker="redis://localhost:6379/0")
    broker.conf.broker_connection_retry_on_startup = True
    events = CeleryHandler(broker, flush_deadline=10.0)
    open_scopes(broker, [events])
    own = broker.task(name="import_cats", autoretry_for=(ValueError,), default_retry_delay=0)
"""

HANDLERS = """
    import redis
    from app.events import broker, events, own
    from fastapi_events.dispatcher import dispatch

    client = redis.Redis.from_url("redis://localhost:6379/0", decode_responses=True)

    @own
    def import_cats(count):
        attempt = client.incr("attempts")
        dispatch("cats-imported", {"count": count, "attempt": attempt})
        if attempt == 1:
            raise ValueError("the first attempt fails")

    @events.register(event_name="cats-imported", name="tell")
    def tell(event):
        client.rpush("told", f"{event.payload['count']} in attempt {event.payload['attempt']}")
"""


@pytest.mark.parametrize(
    ("build", "worker", "send"),
    [
        (
            DRAMATIQ,
            ("dramatiq", "app.handlers", "--processes", "1", "--threads", "2"),
            "from app.handlers import import_cats; import_cats.send(3)",
        ),
        (
            CELERY,
            ("celery", "-A", "app.handlers", "worker", "--pool", "prefork", "--concurrency", "1",
             "--without-mingle", "--without-gossip"),
            "from app.handlers import import_cats; import_cats.delay(3)",
        ),
    ],
    ids=["dramatiq", "celery"],
)  # fmt: skip
def test_what_succeeds_has_dispatched(
    project: Project, build: str, worker: tuple[str, ...], send: str
) -> None:
    # Given: workers with an actor or task of the application's own, and a scope around each
    project.write(events=build, handlers=HANDLERS)
    project.start(*worker)

    # When: it dispatches, fails, and succeeds in its second attempt
    project.run(send)

    # Then: the event of the second attempt is heard, and that of the first is not
    assert project.told("told") == "3 in attempt 2"
    assert project.redis.llen("told") == 0
