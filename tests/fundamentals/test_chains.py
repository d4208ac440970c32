"""Fundamentals: what a function dispatches is published when it has succeeded, and knows its cause."""

from fastapi_events.dispatcher import dispatch
from fastapi_events.typing import Event
from tests.places import dramatiq_on_stub


def test_a_chain_of_events() -> None:
    # Given a function that dispatches another event, and fails at first,
    with dramatiq_on_stub() as place:
        events, attempts, heard = place.handler, list[int](), list[Event]()

        @events.register(event_name="order-placed")
        def charge(event: Event) -> None:
            attempts.append(1)
            dispatch("order-charged", payload={"attempt": len(attempts)})
            if len(attempts) == 1:
                raise ConnectionError("the bank is away")
            heard.append(event)

        @events.register(event_name="order-charged")
        async def ship(event: Event) -> None:
            heard.append(event)

        # When the first event is dispatched,
        place.dispatch("order-placed")

        # Then the second is heard once, from the attempt that succeeded,
        placed, charged = heard
        assert charged.payload == {"attempt": 2}

        # and it names the event that caused it, and the one that began it all.
        assert charged.headers["causationid"] == placed.id
        assert charged.headers["correlationid"] == placed.headers["correlationid"] == placed.id
