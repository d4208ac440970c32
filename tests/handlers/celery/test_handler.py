"""What is Celery's own: tasks, options, pools, deadlines, and a broker that is away."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import celery
import pytest
from celery.exceptions import Reject, Retry

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryCatalogue
from tests.places import OnCelery, celery_on_redis
from tests.recording import Diary


@pytest.fixture
def app() -> Iterator[celery.Celery]:
    app = celery.Celery("test", broker="redis://127.0.0.1:1/0", set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def events(app: celery.Celery) -> Iterator[CeleryHandler]:
    handler = CeleryHandler(app, catalogue=MemoryCatalogue())  # that of its broker cannot be read
    yield handler
    asyncio.run(handler.on_shutdown())


@pytest.fixture
def place(valkey_url: str) -> Iterator[OnCelery]:
    with celery_on_redis(valkey_url) as place:
        yield place


def test_each_subscription_is_a_task_of_its_own(app: celery.Celery, events: CeleryHandler) -> None:
    @events.register(event_name="hello", queue="kitchen", rate_limit="10/s", soft_time_limit=30)
    def work(event: Event) -> None: ...

    [subscription] = events.subscriptions
    task = app.tasks[subscription.name]
    assert (task.rate_limit, task.soft_time_limit) == ("10/s", 30)
    for name in (subscription.name, "fastapi_events.fan_out"):
        ours = app.tasks[name]
        assert (ours.acks_late, ours.reject_on_worker_lost, ours.ignore_result) == (True, True, True)


def test_an_unknown_option_is_refused_with_a_guess(events: CeleryHandler) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown option 'rate_limt'; did you mean 'rate_limit'\?"):
        events.register(lambda event: None, rate_limt="1/s")
    with pytest.raises(ConfigurationError, match=r"it is no option of celery\.Task"):
        events.register(lambda event: None, zzz=1)
    with pytest.raises(ConfigurationError, match="use retry=RetryPolicy"):
        events.register(lambda event: None, max_retries=3)
    assert len(events.subscriptions) == 0


def test_a_task_of_that_name_that_is_not_ours_is_left_alone(
    app: celery.Celery, events: CeleryHandler
) -> None:
    @app.task(name="mine", shared=False)
    def mine() -> None: ...

    with pytest.raises(ConfigurationError, match="has a task named 'mine' already"):
        events.register(lambda event: None, name="mine")


def test_two_handlers_on_one_app_need_two_queues(app: celery.Celery, events: CeleryHandler) -> None:
    with pytest.raises(ConfigurationError, match="queue 'events'"):
        CeleryHandler(app)
    CeleryHandler(app, queue="billing")
    assert "fastapi_events.fan_out.billing" in app.tasks


def test_what_is_no_app_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"expected a celery\.Celery app"):
        CeleryHandler("redis://localhost")  # type: ignore[arg-type]


def test_a_wait_beyond_the_visibility_timeout_is_refused(app: celery.Celery, events: CeleryHandler) -> None:
    app.conf.broker_transport_options = {"visibility_timeout": 60}
    with pytest.raises(ConfigurationError, match="visibility_timeout"):
        events.register(lambda event: None, retry=RetryPolicy(max_backoff=60))
    with pytest.raises(ConfigurationError, match="visibility_timeout"):
        CeleryHandler(app, queue="other", retry=RetryPolicy(max_backoff=3_600))


def test_a_worker_consumes_every_queue_that_is_used(app: celery.Celery, events: CeleryHandler) -> None:
    events.register(lambda event: None, name="a", queue="kitchen")
    events.register(lambda event: None, name="b", queue="billing")

    worker = type("Worker", (), {"app": app})
    celery.signals.celeryd_init.send(sender="worker", instance=worker, conf=app.conf)

    assert set(app.amqp.queues.consume_from) == {"celery", "events", "kitchen", "billing"}


def test_a_priority_goes_on_the_message(place: OnCelery) -> None:
    seen: list[Any] = []

    def listen(sender: str, properties: dict[str, Any], **_: Any) -> None:
        if sender == "work":
            seen.append(properties["priority"])

    place.handler.register(lambda event: None, name="work", priority=3)
    celery.signals.before_task_publish.connect(listen)
    try:
        place.handler.worker.fan_out('{"specversion":"1.0","id":"1","type":"hello"}')
    finally:
        celery.signals.before_task_publish.disconnect(listen)

    assert seen == [3]


def test_the_users_signals_are_sent(place: OnCelery) -> None:
    seen: list[str] = []

    def listen(sender: str, **_: Any) -> None:
        seen.append(sender)

    place.handler.register(lambda event: None, name="work")
    celery.signals.after_task_publish.connect(listen)
    try:
        place.dispatch("hello")
    finally:
        celery.signals.after_task_publish.disconnect(listen)

    assert seen == ["fastapi_events.fan_out", "work"]


def test_the_payload_is_not_in_the_repr_that_celery_logs_and_shows(place: OnCelery) -> None:
    shown: list[str] = []

    def listen(headers: dict[str, Any], **_: Any) -> None:
        shown.append(headers["argsrepr"])

    celery.signals.before_task_publish.connect(listen)
    try:
        with collect_events([place.handler], raise_errors=True):
            dispatch("hello", {"password": "swordfish"})
    finally:
        celery.signals.before_task_publish.disconnect(listen)

    assert shown == ["(…)"]


# A broker that is away


@pytest.fixture
def handler_on() -> Iterator[Any]:
    made: list[CeleryHandler] = []

    def make(url: str, **settings: Any) -> CeleryHandler:
        made.append(CeleryHandler(celery.Celery("x", broker=url, set_as_current=False), **settings))
        return made[-1]

    yield make
    for handler in made:
        asyncio.run(handler.on_shutdown())
        handler.app.close()


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_black_hole_is_given_up_at_the_deadline(scheme: str, handler_on: Any, diary: Diary) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        handler = handler_on(f"{scheme}://127.0.0.1:{listening.getsockname()[1]}//", flush_deadline=0.3)

        async def main() -> None:
            async with collect_events([handler]):
                dispatch("hello")

        asyncio.run(asyncio.wait_for(main(), 30))

    [(name, _)] = diary.of("lost")
    assert name == "hello"


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_refuses_is_reported(scheme: str, handler_on: Any, diary: Diary) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    handler = handler_on(f"{scheme}://127.0.0.1:{port}//")

    with collect_events([handler]):
        dispatch("a")
        dispatch("b")

    assert [(name, rest["handler"]) for name, rest in diary.of("lost")] == [
        ("a", "celery:events"),
        ("b", "celery:events"),
    ]
    assert all("refused" in rest["reason"] for _, rest in diary.of("lost"))


@pytest.mark.valkey
def test_a_connection_that_the_server_has_closed_costs_nothing(place: OnCelery, diary: Diary) -> None:
    heard: list[Any] = []
    place.handler.register(lambda event: heard.append(event.payload), name="work")

    async def publish(n: int) -> None:
        async with collect_events([place.handler]):
            dispatch("hello", n)

    asyncio.run(publish(1))
    place.redis.client_kill_filter(_type="normal", skipme=True)
    asyncio.run(publish(2))
    place.settle()

    assert sorted(heard) == [1, 2]
    assert diary.of("lost") == []


def test_a_retry_that_cannot_be_published_is_not_acknowledged_away(
    app: celery.Celery, events: CeleryHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[Any] = []
    attempts: list[int] = []

    def unreliable(messages: Any, **_: Any) -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionError("the broker is away")
        published.extend(messages)

    @events.register(name="work")
    def work(event: Event) -> None:
        raise ValueError("no")

    monkeypatch.setattr(events.engine._publisher, "publish", unreliable)
    with pytest.raises(Retry):
        run(app, "work")

    [message] = published
    assert (message["name"], message["retries"]) == ("work", 1)
    assert 0.5 <= message["countdown"] <= 1.0


def test_a_worker_that_stops_meanwhile_gives_the_message_back(
    app: celery.Celery, events: CeleryHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = threading.Event()

    def away(messages: Any, **_: Any) -> None:
        refused.set()
        celery.signals.worker_shutting_down.send(sender="worker", sig="TERM", how="Warm", exitcode=0)
        raise ConnectionError("the broker is away")

    @events.register(name="work")
    def work(event: Event) -> None:
        raise ValueError("no")

    monkeypatch.setattr(events.engine._publisher, "publish", away)
    with pytest.raises(Reject) as raised:
        run(app, "work")

    assert refused.is_set()
    assert raised.value.requeue is True


def run(app: celery.Celery, name: str) -> None:
    """Call a task as a worker would, with a message of its own."""
    task = app.tasks[name]
    task.push_request(id="1", args=(), kwargs={}, retries=0, called_directly=False, delivery_info={})
    try:
        task.run('{"specversion":"1.0","id":"1","type":"hello"}')
    finally:
        task.pop_request()
