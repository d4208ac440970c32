"""Fundamentals: the same function in a worker; retried alone, given up into the dead letters."""

from dramatiq.brokers.stub import StubBroker

from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.retry import RetryPolicy
from fastapi_events.testing import InlineWorker
from fastapi_events.typing import Event


def test_a_function_that_fails_is_retried_alone_and_then_given_up() -> None:
    # Given a queue and three functions that listen to an event,
    events = DramatiqHandler(StubBroker())

    @events.register(event_name="hello")
    def steady(event: Event) -> None: ...

    @events.register(event_name="hello", retry=RetryPolicy(max_retries=3, min_backoff=10.0))
    async def flaky(event: Event) -> None: ...

    @events.register(event_name="hello", retry=RetryPolicy(max_retries=1))
    def hopeless(event: Event) -> None: ...

    # When the event is dispatched, and one fails twice, another always,
    with (
        InlineWorker(events) as worker,
        worker.failing(flaky, ConnectionError, times=2),
        worker.failing(hopeless, ValueError("never")),
    ):
        run = worker.emit("hello", {"n": 1})

    # Then each runs as often as it has to, and no more,
    run.assert_succeeded(steady, attempts=1)
    run.assert_succeeded(flaky, attempts=3)
    assert run.of(flaky).waits == [10.0, 20.0]

    # and what was given up is kept with its reason.
    run.assert_dead(hopeless, reason="ValueError: never", attempts=2)
