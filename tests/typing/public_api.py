"""Checked by mypy --strict, never run: what users type keeps the types they gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_type

import dramatiq
from dramatiq.brokers.stub import StubBroker
from hypothesis.strategies import SearchStrategy
from pydantic import BaseModel

from fastapi_events.dispatcher import dispatch
from fastapi_events.flush import FinishedScope
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.registry.payload_schema import registry
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import Backlog, collect_events
from fastapi_events.testing import DispatchedEvents, InlineWorker, Run, capture_events
from fastapi_events.testing.strategies import payloads
from fastapi_events.typing import Event

broker: dramatiq.Broker = StubBroker()
local, events = LocalHandler(), DramatiqHandler(broker, queue="events", retry=RetryPolicy(max_retries=1))


class Fish(BaseModel):
    __event_name__ = "fish"
    size: int


@local.register
def bare(event: Event) -> int:
    return 1


@local.register(event_name="a*")
async def by_pattern(event: Event) -> str:
    return "x"


@local.register(Fish)
def by_model(fish: Fish) -> None: ...


@events.register
def queued(event: Event) -> int:
    return 1


@events.register(event_name="a*", retry=RetryPolicy(max_retries=2), queue="kitchen", time_limit=1_000)
def with_options(event: Event) -> int:
    return 1


@events.register(Fish, queue="kitchen")
def queued_by_model(fish: Fish) -> float:
    return 1.0


@registry.register
class Bone(BaseModel):
    __event_name__ = "bone"
    length: int


@registry.register(event_name="milk")
class Milk(BaseModel):
    litres: float


def policy(scope: FinishedScope) -> bool:
    return scope.status != 500 and not scope.error


def check() -> None:
    event = Event("hello", {"n": 1})
    assert_type(bare(event), int)
    assert_type(queued(event), int)
    assert_type(with_options(event), int)
    assert_type(queued_by_model(Fish(size=1)), float)
    assert_type(Bone(length=1), Bone)
    assert_type(Milk(litres=1.0).litres, float)
    function: Callable[[Event], None] = lambda event: None  # noqa: E731
    again: Callable[[Event], None] = events.register(function, name="other")
    assert_type(again(event), None)
    with collect_events([local, events], flush_when=policy) as backlog:
        assert_type(backlog, Backlog)
        dispatch("hello", payload={"n": 1})
        dispatch(Fish(size=1), headers={"correlationid": "7"})


async def check_async() -> None:
    async with collect_events([local], flush_when="always"):
        dispatch("hello")


def tests_of_users(recorded: DispatchedEvents, worker: InlineWorker) -> None:
    assert_type(recorded.assert_dispatched(Fish, size=1, where=lambda event: event.payload), Event)
    assert_type(recorded.named("fish*"), list[Event])
    assert_type(recorded[0], Event)
    run = worker.emit(Fish(size=1), delay=1.0)
    assert_type(run, Run)
    assert_type(worker.run(), Run)
    assert_type(worker.advance(minutes=10), Run)
    assert_type(run.of(eat).waits, list[float])
    assert_type(run.of("eat").errors, list[BaseException])
    with worker.failing(eat, TimeoutError, times=2), worker.crash_after("run"), worker.reorder(seed=1):
        run.assert_ran(eat, times=1)
    with capture_events() as captured, InlineWorker(local, events) as inline:
        assert_type(captured, DispatchedEvents)
        assert_type(inline, InlineWorker)
    assert_type(payloads(Fish), SearchStrategy[Fish])


def eat(event: Event) -> None: ...
