"""What `fastapi-events doctor` says about each engine and its broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import pytest
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker

from fastapi_events.embedded import EmbeddedServer
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.rabbitmq_quorum import QuorumBroker
from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
from fastapi_events.storage.memory import MemoryOutbox

NOWHERE = "redis://127.0.0.1:1/0"
HANDLED: dict[str, Any] = {"outbox": MemoryOutbox(), "confirm": "handled"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[redis.Redis]:
    """A server of its own, whose settings a test may change."""
    with EmbeddedServer(tmp_path) as embedded, redis.Redis.from_url(embedded.url) as client:
        client.url = embedded.url  # type: ignore[attr-defined]
        yield client


def said(handler: Any) -> dict[str, tuple[str, str]]:
    """Severity and text of each subject."""
    found = list(handler.diagnose())
    assert len({each.subject for each in found}) == len(found)
    return {each.subject: (each.severity, each.text) for each in found}


def on_redis(url: str, **settings: Any) -> DramatiqHandler:
    return DramatiqHandler(SafeRedisBroker(url=url), **settings)


def app_on(url: str, **conf: Any) -> celery.Celery:
    app = celery.Celery("test", broker=url, set_as_current=False)
    app.conf.update(conf)
    return app


# The Redis server


@pytest.mark.valkey
def test_a_server_that_keeps_everything_is_well(server: Any) -> None:
    found = said(on_redis(server.url))

    assert {found[each][0] for each in ("broker", "persistence", "memory")} == {"ok"}


@pytest.mark.valkey
@pytest.mark.parametrize(
    ("save", "words"), [("", "a restart empties the queues"), ("60 1", "only snapshots")]
)
def test_a_server_without_a_log_is_a_danger_unless_the_outbox_waits_for_the_functions(
    server: Any, save: str, words: str
) -> None:
    server.config_set("appendonly", "no")
    server.config_set("save", save)

    severity, text = said(on_redis(server.url))["persistence"]

    assert severity == "danger"
    assert words in text
    assert "confirm='handled'" in text
    assert said(on_redis(server.url, **HANDLED))["persistence"][0] == "ok"


@pytest.mark.valkey
@pytest.mark.parametrize(
    ("policy", "limit", "severity"),
    [("allkeys-lru", "100mb", "danger"), ("allkeys-lru", "0", "advice"), ("volatile-ttl", "100mb", "advice")],
)
def test_a_server_that_throws_away_is_told(server: Any, policy: str, limit: str, severity: str) -> None:
    server.config_set("maxmemory-policy", policy)
    server.config_set("maxmemory", limit)

    found = said(on_redis(server.url))["memory"]
    assert found[0] == severity
    assert policy in found[1]


@pytest.mark.valkey
def test_of_a_server_that_refuses_to_tell_nothing_is_claimed(server: Any) -> None:
    server.acl_setuser(
        "managed", enabled=True, passwords=["+secret"], keys=["*"], categories=["+@all"], commands=["-config"]
    )

    found = said(on_redis(server.url.replace("redis://", "redis://managed:secret@")))

    assert found["broker"][0] == "ok"
    assert found["settings"][0] == "advice"
    assert "cannot tell" in found["settings"][1]
    assert "persistence" not in found


# Dramatiq


@pytest.mark.parametrize(
    "handler",
    [
        DramatiqHandler(SafeRedisBroker(url=NOWHERE)),
        DramatiqHandler(RabbitmqBroker(url="amqp://127.0.0.1:1", confirm_delivery=True)),
        CeleryHandler(app_on(NOWHERE)),
        CeleryHandler(app_on("amqp://127.0.0.1:1//")),
    ],
    ids=["dramatiq-redis", "dramatiq-rabbitmq", "celery-redis", "celery-rabbitmq"],
)
def test_a_broker_that_is_away_is_told_at_once(handler: Any) -> None:
    severity, text = said(handler)["broker"]

    assert severity == "danger"
    assert text.startswith("cannot be reached: ")
    assert len(text) > len("cannot be reached: ")


@pytest.mark.valkey
def test_a_plain_redis_broker_with_its_defaults_leaves_messages_lying(valkey_url: str) -> None:
    found = said(DramatiqHandler(RedisBroker(url=valkey_url)))

    assert found["workers"][0] == "advice"
    assert "SafeRedisBroker" in found["workers"][1]
    assert found["killed workers"][0] == "advice"
    assert "812 s" in found["killed workers"][1]


@pytest.mark.valkey
def test_a_safe_broker_with_a_short_heartbeat_is_well(valkey_url: str) -> None:
    broker = SafeRedisBroker(url=valkey_url)

    found = said(DramatiqHandler(broker))

    assert {severity for severity, _ in found.values()} == {"ok"}


def test_of_an_unknown_broker_nothing_is_claimed() -> None:
    assert said(DramatiqHandler(StubBroker()))["broker"][0] == "advice"


@pytest.mark.rabbitmq
def test_rabbitmq_has_to_confirm_what_workers_enqueue(amqp_url: str) -> None:
    careless, careful = RabbitmqBroker(url=amqp_url), RabbitmqBroker(url=amqp_url, confirm_delivery=True)

    assert said(DramatiqHandler(careless))["confirms"][0] == "danger"
    found = said(DramatiqHandler(careful))
    assert "confirms" not in found
    assert found["broker"] == ("ok", "reachable")
    assert found["queues"][0] == "advice"


@pytest.mark.rabbitmq
def test_quorum_queues_are_well(amqp_url: str) -> None:
    broker = QuorumBroker(url=amqp_url, confirm_delivery=True)

    found = said(DramatiqHandler(broker, queue_type="quorum"))

    assert {severity for severity, _ in found.values()} == {"ok"}


# Celery


@pytest.mark.valkey
def test_celery_over_redis_needs_receipts_and_our_transport(valkey_url: str) -> None:
    found = said(CeleryHandler(app_on(valkey_url)))

    assert found["confirmation"][0] == "danger"
    assert "confirm='handled'" in found["confirmation"][1]
    assert found["transport"][0] == "advice"
    assert found["prefetch"][0] == "advice"


@pytest.mark.valkey
def test_celery_over_redis_set_up_as_its_page_says_is_well(valkey_url: str) -> None:
    app = app_on(
        valkey_url,
        broker_transport="fastapi_events.handlers.celery.redis_transport:Transport",
        task_time_limit=600,
        worker_prefetch_multiplier=1,
    )
    handler = CeleryHandler(app, **HANDLED)
    handler.register(_nothing, name="shop.cook")

    assert {severity for severity, _ in said(handler).values()} == {"ok"}


@pytest.mark.valkey
@pytest.mark.parametrize(("limit", "words"), [(None, "none for"), (7_200, "may run for longer than")])
def test_what_may_outlast_the_visibility_timeout_is_named(
    valkey_url: str, limit: int | None, words: str
) -> None:
    handler = CeleryHandler(app_on(valkey_url, task_time_limit=limit))
    handler.register(_nothing, name="shop.cook")

    severity, text = said(handler)["time limits"]

    assert severity == "advice"
    assert words in text
    assert "shop.cook" in text


@pytest.mark.valkey
def test_what_a_killed_worker_of_celery_held_comes_back_late_unless_said_otherwise(valkey_url: str) -> None:
    def found(handler: CeleryHandler) -> tuple[str, str]:
        severity, text = said(handler)["killed workers"]
        return severity, text

    severity, text = found(CeleryHandler(app_on(valkey_url)))
    assert severity == "advice"
    assert "3,600 s" in text
    short = app_on(valkey_url, broker_transport_options={"visibility_timeout": 1_200})
    assert found(CeleryHandler(short))[0] == "ok"
    assert found(CeleryHandler(app_on(valkey_url), **HANDLED))[0] == "ok"


@pytest.mark.rabbitmq
def test_celery_on_rabbitmq_is_asked_about_its_confirms(amqp_url: str) -> None:
    options = {"confirm_publish": True}

    assert said(CeleryHandler(app_on(amqp_url)))["confirms"][0] == "advice"
    assert "confirms" not in said(CeleryHandler(app_on(amqp_url, broker_transport_options=options)))


def _nothing(event: Any) -> None: ...
