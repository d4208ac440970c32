"""Fundamentals: the same function in a worker; retried alone, given up into the dead letters."""

from fastapi_events.retry import RetryPolicy
from fastapi_events.typing import Event
from tests.places import dramatiq_on_stub


def test_a_function_that_fails_is_retried_alone_and_then_given_up() -> None:
    # Given a queue and three functions that listen to an event,
    with dramatiq_on_stub() as place:
        events, calls = place.handler, list[str]()

        @events.register(event_name="hello")
        def steady(event: Event) -> None:
            calls.append("steady")

        @events.register(event_name="hello", retry=RetryPolicy(max_retries=3, min_backoff=0.01))
        async def flaky(event: Event) -> None:
            calls.append("flaky")
            if calls.count("flaky") < 2:
                raise ConnectionError("try again")

        @events.register(event_name="hello", retry=RetryPolicy(max_retries=1, min_backoff=0.01))
        def hopeless(event: Event) -> None:
            calls.append("hopeless")
            raise ValueError("never")

        # When the event is dispatched,
        place.dispatch("hello", payload={"n": 1})

        # Then each runs as often as it has to, and no more,
        assert {name: calls.count(name) for name in calls} == {"steady": 1, "flaky": 2, "hopeless": 2}

        # and what was given up is kept with its reason.
        assert place.reasons() == ["ValueError: never"]
