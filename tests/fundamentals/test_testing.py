"""Fundamentals: a test says what was dispatched, or lets it all happen; neither needs a broker."""

from dramatiq.brokers.stub import StubBroker
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.testing import InlineWorker, capture_events
from fastapi_events.typing import Event

events = DramatiqHandler(StubBroker())
app = FastAPI()
app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])


@app.post("/orders/{number}")
def place(number: int) -> None:
    dispatch("order-placed", {"number": number})


@events.register(event_name="order-placed")
def cook(event: Event) -> None:
    dispatch("order-cooked", event.payload)


def test_what_was_dispatched() -> None:
    # When a request dispatches an event while events are captured,
    with capture_events() as captured:
        TestClient(app).post("/orders/1")

    # Then it is recorded, and nobody has cooked.
    captured.assert_dispatched_once("order-placed", number=1)
    captured.assert_not_dispatched("order-cooked")


def test_what_ran() -> None:
    # When the same request is made while a worker is there,
    with InlineWorker(events) as worker:
        TestClient(app).post("/orders/1")
        run = worker.run()

    # Then the function has run, and what it dispatched is known.
    run.assert_ran(cook, times=1)
    run.assert_dispatched("order-cooked", number=1)


def test_when_it_runs_again() -> None:
    # When the function fails twice,
    with InlineWorker(events) as worker, worker.failing(cook, TimeoutError, times=2):
        run = worker.emit("order-placed", {"number": 1})

    # Then it has waited longer each time, by a clock for which nobody has to wait.
    assert run.of(cook).waits == [1.0, 2.0]
    run.assert_succeeded(cook, attempts=3)
