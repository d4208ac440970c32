"""Fundamentals: what a function dispatches is published when it has succeeded, and knows its cause."""

from dramatiq.brokers.stub import StubBroker

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.testing import InlineWorker
from fastapi_events.typing import Event


def test_a_chain_of_events() -> None:
    # Given a function that dispatches another event, and fails at first,
    events, attempts = DramatiqHandler(StubBroker()), list[Event]()

    @events.register(event_name="order-placed")
    def charge(event: Event) -> None:
        attempts.append(event)
        dispatch("order-charged", payload={"attempt": len(attempts)})
        if len(attempts) == 1:
            raise ConnectionError("the bank is away")

    @events.register(event_name="order-charged")
    async def ship(event: Event) -> None: ...

    # When the first event is dispatched,
    with InlineWorker(events) as worker:
        run = worker.emit("order-placed")

    # Then the second is heard once, from the attempt that succeeded,
    run.assert_succeeded(charge, attempts=2)
    [charged] = run.of(ship).events
    assert charged.payload == {"attempt": 2}

    # and it names the event that caused it, and the one that began it all.
    placed = attempts[0]
    assert charged.headers["causationid"] == placed.id
    assert charged.headers["correlationid"] == placed.headers["correlationid"] == placed.id
