"""A scope around every actor of a broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO, Middleware, SkipMessage

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.dramatiq import DramatiqHandler, ScopeMiddleware
from fastapi_events.typing import Event
from tests.recording import Failing, Recorder


@pytest.fixture
def taking() -> Recorder:
    return Recorder()


@pytest.fixture
def broker(taking: Recorder) -> Iterator[StubBroker]:
    broker = StubBroker()
    broker.add_middleware(AsyncIO())
    broker.add_middleware(ScopeMiddleware([taking]))
    yield broker
    broker.close()


def run(broker: StubBroker) -> None:
    worker = dramatiq.Worker(broker, worker_timeout=10, worker_threads=2)
    worker.start()
    try:
        broker.join("default", timeout=20_000, fail_fast=False)
        worker.join()
    finally:
        worker.stop()


def test_what_an_actor_dispatches_goes_out_when_it_has_succeeded(
    broker: StubBroker, taking: Recorder
) -> None:
    seen_inside: list[list[Any]] = []

    @dramatiq.actor(broker=broker)
    def import_cats() -> None:
        dispatch("cats-imported")
        seen_inside.append(list(taking.names))

    import_cats.send()
    run(broker)

    assert (seen_inside, taking.names) == ([[]], ["cats-imported"])


def test_so_does_what_an_async_actor_dispatches(broker: StubBroker, taking: Recorder) -> None:
    @dramatiq.actor(broker=broker)
    async def import_cats() -> None:
        dispatch("cats-imported")

    import_cats.send()
    run(broker)

    assert taking.names == ["cats-imported"]


def test_an_actor_that_fails_dispatches_nothing_until_it_succeeds(
    broker: StubBroker, taking: Recorder
) -> None:
    attempts: list[int] = []

    @dramatiq.actor(broker=broker, max_retries=1, min_backoff=1, max_backoff=1)
    def import_cats() -> None:
        attempts.append(1)
        dispatch(f"attempt-{len(attempts)}")
        if len(attempts) == 1:
            raise ValueError("not yet")

    import_cats.send()
    run(broker)

    assert taking.names == ["attempt-2"]


def test_the_scope_of_a_skipped_message_is_closed(broker: StubBroker, taking: Recorder) -> None:
    class Skipping(Middleware):
        def before_process_message(self, broker: dramatiq.Broker, message: Any) -> None:
            if message.args == ("skipped",):
                raise SkipMessage

    broker.add_middleware(Skipping())

    @dramatiq.actor(broker=broker)
    def import_cats(which: str) -> None:
        dispatch(which)

    import_cats.send("skipped")
    import_cats.send("run")
    run(broker)

    assert taking.names == ["run"]
    with pytest.raises(LookupError):
        dispatch("nowhere")


def test_what_no_handler_takes_fails_no_actor() -> None:
    broker = StubBroker()
    broker.add_middleware(ScopeMiddleware([Failing(OSError("away"))]))
    ran: list[int] = []

    @dramatiq.actor(broker=broker, max_retries=3)
    def import_cats() -> None:
        ran.append(1)
        dispatch("cats-imported")

    import_cats.send()
    run(broker)

    assert ran == [1]


def test_subscriptions_keep_the_scope_that_they_have(broker: StubBroker, taking: Recorder) -> None:
    events, heard = DramatiqHandler(broker, queue="default"), []

    @events.register(event_name="hello", name="hello")
    def hello(event: Event) -> None:
        dispatch("from-hello")

    @events.register(event_name="from-hello", name="from-hello")
    def listen(event: Event) -> None:
        heard.append(event.name)

    broker.get_actor("fastapi_events.fan_out.default").send(
        '[{"specversion": "1.0", "id": "1", "source": "s", "type": "hello"}]'
    )
    run(broker)

    assert (heard, taking.names) == (["from-hello"], [])


def test_a_wrong_policy_is_refused_where_it_is_written() -> None:
    with pytest.raises((ConfigurationError, ValueError)):
        ScopeMiddleware([Recorder()], flush_when="sucess")  # type: ignore[arg-type]
