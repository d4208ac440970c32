"""What is Dramatiq's own: actors, options, middleware, retries, and a broker that is away."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Middleware

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.dramatiq import DEAD, DramatiqHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from tests.asgi import call, responding
from tests.places import QUICK, Dramatiq, dramatiq_on_stub
from tests.processes import until
from tests.recording import Diary


@pytest.fixture
def stub() -> Iterator[Dramatiq]:
    with dramatiq_on_stub() as place:
        yield place


def test_each_subscription_is_an_actor_of_its_own(stub: Dramatiq) -> None:
    @stub.handler.register(event_name="hello", queue="kitchen", priority=3, time_limit=1_000, max_age=60_000)
    def work(event: Event) -> None: ...

    [subscription] = stub.handler.subscriptions
    actor = stub.broker.get_actor(subscription.name)
    assert (actor.queue_name, actor.priority) == ("kitchen", 3)
    assert (actor.options["time_limit"], actor.options["max_age"]) == (1_000, 60_000)
    assert stub.broker.get_actor("fastapi_events.fan_out").queue_name == "events"


def test_an_unknown_option_is_refused_with_a_guess(stub: Dramatiq) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown option 'quue'; did you mean 'queue'\?"):
        stub.handler.register(lambda event: None, quue="kitchen")
    with pytest.raises(ConfigurationError, match=r"unknown option 'zzz'; it is no option of dramatiq.actor"):
        stub.handler.register(lambda event: None, zzz=1)
    assert len(stub.handler.subscriptions) == 0


@pytest.mark.parametrize("queue", ["", "7up", "a b", "größe"])
def test_a_queue_name_that_dramatiq_cannot_use_is_refused(stub: Dramatiq, queue: str) -> None:
    if queue:
        with pytest.raises(ConfigurationError, match="queue"):
            stub.handler.register(lambda event: None, queue=queue)
    with pytest.raises(ConfigurationError, match="queue"):
        DramatiqHandler(StubBroker(), queue=queue)


def test_an_actor_of_that_name_that_is_not_ours_is_left_alone(stub: Dramatiq) -> None:
    dramatiq.actor(lambda: None, actor_name="mine", broker=stub.broker)
    with pytest.raises(ConfigurationError, match="has an actor named 'mine' already"):
        stub.handler.register(lambda event: None, name="mine")


def test_two_handlers_on_one_broker_need_two_queues(stub: Dramatiq) -> None:
    with pytest.raises(ConfigurationError, match="queue 'events'"):
        DramatiqHandler(stub.broker)
    other = DramatiqHandler(stub.broker, queue="billing")
    assert stub.broker.get_actor("fastapi_events.fan_out.billing").queue_name == "billing"
    assert sum(type(each).__name__ == "Redelivery" for each in stub.broker.middleware) == 1
    asyncio.run(other.on_shutdown())


def test_a_broker_is_never_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dramatiq.broker.global_broker", None)
    with pytest.raises(ConfigurationError, match="no broker yet"):
        DramatiqHandler()
    with pytest.raises(ConfigurationError, match=r"expected a dramatiq\.Broker"):
        DramatiqHandler("redis://localhost")  # type: ignore[arg-type]

    broker = StubBroker()
    monkeypatch.setattr("dramatiq.broker.global_broker", broker)
    assert DramatiqHandler().broker is broker


def test_the_users_middleware_sees_what_happens(dramatiq_place: Dramatiq) -> None:
    seen: list[tuple[str, str]] = []

    class Sentry(Middleware):
        def before_enqueue(self, broker, message, delay):
            seen.append(("enqueue", message.actor_name))

        def after_process_message(self, broker, message, *, result=None, exception=None):
            seen.append((type(exception).__name__, message.actor_name))

    dramatiq_place.broker.add_middleware(Sentry())

    @dramatiq_place.handler.register(name="work", retry=RetryPolicy(max_retries=1, min_backoff=0.01))
    def work(event: Event) -> None:
        raise ValueError("no")

    dramatiq_place.dispatch("hello")

    assert seen.count(("ValueError", "work")) == 2
    assert ("NoneType", "fastapi_events.fan_out") in seen
    assert ("enqueue", "fastapi_events.fan_out") in seen
    assert ("enqueue", "work") in seen


def test_the_users_own_actors_are_treated_as_before(stub: Dramatiq) -> None:
    calls: list[str] = []

    @dramatiq.actor(broker=stub.broker, queue_name="events", max_retries=2, min_backoff=1, max_backoff=2)
    def mine() -> None:
        calls.append("mine")
        raise ValueError("no")

    mine.send()
    stub.settle()

    assert len(calls) == 3
    [message] = stub.rejected()
    assert DEAD not in message.options


def test_a_backoff_beyond_what_dramatiq_can_hold_is_refused(stub: Dramatiq) -> None:
    week = 8 * 86_400
    with pytest.raises(ConfigurationError, match="7 days"):
        stub.handler.register(lambda event: None, retry=RetryPolicy(max_backoff=week))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_time_limit_ends_a_function_and_counts_as_a_failure(
    stub: Dramatiq, kind: str, diary: Diary
) -> None:
    stub.broker.emit_after("process_boot")  # starts Dramatiq's watchdog, as a worker process does
    calls: list[str] = []

    @stub.handler.register(event_name="sync", name="sync", time_limit=50)
    def hangs(event: Event) -> None:
        calls.append("sync")
        while len(calls) == 1:
            time.sleep(0.01)

    @stub.handler.register(event_name="async", name="async", time_limit=50)
    async def hangs_too(event: Event) -> None:
        calls.append("async")
        if len(calls) == 1:
            await asyncio.Event().wait()

    stub.dispatch(kind)

    assert calls == [kind, kind]
    assert [type(rest["error"]).__name__ for _, rest in diary.of("failed")] == ["TimeLimitExceeded"]


def test_a_retry_that_cannot_be_enqueued_is_not_acknowledged_away(stub: Dramatiq) -> None:
    enqueue, away, attempts = stub.broker.enqueue, threading.Event(), []
    away.set()
    calls: list[str] = []

    def unreliable(message: Any, *, delay: Any = None) -> Any:
        if "requeue_timestamp" in message.options and away.is_set():
            attempts.append(message)
            if len(attempts) == 3:
                away.clear()
            raise ConnectionError("the broker is away")
        return enqueue(message, delay=delay)

    @stub.handler.register(name="work")
    def work(event: Event) -> None:
        calls.append("work")
        if len(calls) == 1:
            stub.broker.enqueue = unreliable
            raise ValueError("fails while the broker is away")

    stub.dispatch("hello")

    assert len(attempts) == 3
    assert calls == ["work", "work"]
    assert stub.dead() == []


def test_a_worker_that_stops_meanwhile_keeps_the_message(stub: Dramatiq) -> None:
    refused = threading.Event()
    enqueue = stub.broker.enqueue

    def broken(message: Any, *, delay: Any = None) -> Any:
        if "requeue_timestamp" in message.options:
            refused.set()
            raise ConnectionError("the broker is away")
        return enqueue(message, delay=delay)

    @stub.handler.register(name="work")
    def work(event: Event) -> None:
        stub.broker.enqueue = broken
        raise ValueError("no")

    async def main() -> None:
        async with collect_events([stub.handler]):
            dispatch("hello")

    asyncio.run(main())
    stub.work()
    assert refused.wait(10)
    assert stub.worker is not None
    stub.worker.stop()
    stub.worker = None

    assert [message.actor_name for message in stub.rejected()] == ["work"]


# A broker that is away


@pytest.fixture
def handler_on() -> Iterator[Any]:
    """Makes handlers on a port of this machine, and closes their connections after the test."""
    made: list[DramatiqHandler] = []

    def make(port: int, **settings: Any) -> DramatiqHandler:
        made.append(DramatiqHandler(RedisBroker(url=f"redis://127.0.0.1:{port}/0"), **settings))
        return made[-1]

    yield make
    for handler in made:
        asyncio.run(handler.on_shutdown())
        handler.broker.client.close()  # type: ignore[attr-defined]


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A server that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        yield listening.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_black_hole_delays_no_response_and_blocks_no_loop(
    handler_on: Any, black_hole: int, diary: Diary
) -> None:
    handler = handler_on(black_hole, flush_deadline=0.3)

    async def main() -> int:
        turns = 0
        responded = asyncio.Event()

        async def count_turns_of_the_loop() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await responding(then=lambda: dispatch("hello", {"n": 1}))(scope, receive, send)
            responded.set()

        counting = asyncio.create_task(count_turns_of_the_loop())
        request = asyncio.create_task(call(EventHandlerASGIMiddleware(app, [handler])))
        await responded.wait()
        assert not request.done()  # the response is out, while the flush has not even failed yet
        await request
        counting.cancel()
        return turns

    assert asyncio.run(asyncio.wait_for(main(), 30)) > 10
    [(name, rest)] = diary.of("lost")
    assert (name, rest["handler"]) == ("hello", "dramatiq:events")
    assert "no answer from the broker within 0.3 s" in rest["reason"] or "Timeout" in rest["reason"]


def test_a_broker_that_refuses_is_reported_at_once(handler_on: Any, closed_port: int, diary: Diary) -> None:
    handler = handler_on(closed_port)

    async def main() -> None:
        async with collect_events([handler]):
            dispatch("a")
            dispatch("b")

    asyncio.run(main())

    assert [name for name, _ in diary.of("lost")] == ["a", "b"]
    assert all("ConnectionError" in rest["reason"] for _, rest in diary.of("lost"))
    assert diary.of("failed") == []  # lost says it already


def test_the_buffer_is_bounded_while_the_broker_hangs(handler_on: Any, black_hole: int, diary: Diary) -> None:
    handler = handler_on(black_hole, flush_deadline=3.0, max_pending_events=10)

    async def request(number: int) -> None:
        async with collect_events([handler]):
            dispatch("hello", number)

    async def main() -> None:
        await asyncio.gather(*(request(number) for number in range(50)))

    asyncio.run(asyncio.wait_for(main(), 30))

    reasons = [rest["reason"] for _, rest in diary.of("lost")]
    assert len(reasons) == 50
    # Of fifty one is on the loop's connection, ten at most are in the thread's hands, and ten wait for it.
    assert sum("limit of the buffer" in reason for reason in reasons) >= 29


def test_pending_flushes_are_reported_when_the_web_process_stops(
    handler_on: Any, black_hole: int, diary: Diary
) -> None:
    handler = handler_on(black_hole, flush_deadline=20, shutdown_deadline=0.1)

    async def main() -> None:
        async def request(name: str) -> None:
            async with collect_events([handler]):
                dispatch(name)

        first = asyncio.create_task(request("on the loop"))
        await asyncio.sleep(0)  # its turn
        second = asyncio.create_task(request("in the thread"))
        while handler._outlet.publisher._thread.is_idle or handler._outlet.publisher.pending:
            await asyncio.sleep(0.001)
        third = asyncio.create_task(request("waiting"))
        while not handler._outlet.publisher.pending:
            await asyncio.sleep(0.001)
        await handler.on_shutdown()
        await third
        first.cancel()
        second.cancel()

    asyncio.run(asyncio.wait_for(main(), 30))

    assert next((name, rest["reason"]) for name, rest in diary.of("lost")) == (
        "waiting",
        "the process stopped before the broker took it",
    )


@pytest.mark.valkey
def test_a_connection_that_the_server_has_closed_costs_nothing(valkey_url: str, diary: Diary) -> None:
    from tests.places import dramatiq_on_redis

    with dramatiq_on_redis(valkey_url) as place:
        heard: list[Any] = []
        place.handler.register(lambda event: heard.append(event.payload), name="work")
        place.dispatch("hello", 1)
        place.broker.client.client_kill_filter(_type="normal", skipme=True)
        place.dispatch("hello", 2)

    assert heard == [1, 2]
    assert diary.of("lost") == []
    assert QUICK


def test_waiting_for_a_deploy_costs_no_attempts(stub: Dramatiq) -> None:
    envelope = '{"specversion":"1.0","id":"1","type":"hello"}'
    message = dramatiq.Message("events", "work", (envelope,), {}, {"fastapi_events_unknown": 9})
    calls: list[str] = []

    @stub.handler.register(name="work")
    def work(event: Event) -> None:
        calls.append("work")
        raise ValueError("no")

    stub.broker.enqueue(message)
    stub.settle()

    assert len(calls) == 1 + QUICK.max_retries


@pytest.mark.parametrize("middleware", ["default", "none"])
def test_a_message_whose_options_are_nonsense_is_kept(middleware: str) -> None:
    place = Dramatiq(StubBroker() if middleware == "default" else StubBroker(middleware=[]))

    @place.handler.register(name="work")
    def work(event: Event) -> None:
        raise ValueError("no")

    envelope = '{"specversion":"1.0","id":"1","type":"hello"}'
    place.broker.enqueue(dramatiq.Message("events", "work", (envelope,), {}, {"retries": "many"}))
    place.settle()

    assert [message.actor_name for message in place.rejected()] == ["work"]
    place.close()


# What Dramatiq's own log says of our messages, which the page on troubleshooting explains


def test_a_message_that_dramatiq_calls_aborted_is_retried(
    stub: Dramatiq, caplog: pytest.LogCaptureFixture
) -> None:
    # By its own name: who imports `workers` turns this line off.
    caplog.set_level(logging.INFO, logger="dramatiq.middleware.retries.Retries")
    calls: list[str] = []

    @stub.handler.register(name="work")
    def work(event: Event) -> None:
        calls.append("work")
        if len(calls) == 1:
            raise ValueError("no")

    stub.dispatch("hello")

    assert calls == ["work", "work"]
    assert stub.rejected() == []
    # Dramatiq says it once the retry is in the queue, where another thread may have finished it by then.
    until(lambda: any(each.startswith("Aborting message ") for each in caplog.messages), "Dramatiq's line")
    aborted = [each for each in caplog.messages if each.startswith("Aborting message ")]
    assert len(aborted) == 1


def test_a_message_of_an_undefined_actor_is_kept_though_dramatiq_speaks_of_its_dead_letters(
    stub: Dramatiq, caplog: pytest.LogCaptureFixture
) -> None:
    stub.send('{"specversion":"1.0","id":"1","type":"hello"}', task="elsewhere")
    stub.settle()

    # It was said once, and the message has been delivered until its own attempts were used up.
    undefined = "Received message for undefined actor 'elsewhere'. Moving it to the DLQ."
    assert caplog.messages.count(undefined) == 1
    [letter] = stub.dead()
    assert letter.report["reason"] == "UnknownSubscription: no worker of this queue has 'elsewhere'"
    assert letter.report["attempts"] == 1 + QUICK.max_retries
    assert len(stub.rejected()) == 1
