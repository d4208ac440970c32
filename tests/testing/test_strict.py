"""`--events-strict`: what nobody hears, or no schema knows, fails its test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from fastapi_events.dispatcher import dispatch
from fastapi_events.event import Event
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.handlers.null import NullHandler
from fastapi_events.registry.payload_schema import registry
from fastapi_events.scope import collect_events
from fastapi_events.testing import InlineWorker, capture_events
from fastapi_events.testing.strict import strict_events
from tests.recording import Recorder

pytest_plugins = ["pytester"]


class Order(BaseModel):
    number: int = 1


@pytest.fixture(autouse=True)
def schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "data", {})
    for name in ("order-placed", "order-cooked"):
        registry.register(Order, event_name=name)


@pytest.fixture
def local() -> Iterator[LocalHandler]:
    handler = LocalHandler()
    handler.register(lambda event: None, event_name="order-placed")
    return handler


def test_what_is_heard_and_known_passes(local: LocalHandler) -> None:
    with strict_events(), collect_events([local]):
        dispatch("order-placed", {"number": 1})


def test_what_nobody_hears_fails_with_a_guess(local: LocalHandler) -> None:
    with pytest.raises(AssertionError) as failing, strict_events(), collect_events([local]):
        dispatch("order-plced", {"number": 1})
        dispatch("order-plced", {"number": 2})
    assert str(failing.value).splitlines() == [
        "--events-strict:",
        "Nobody listens to 'order-plced'; did you mean 'order-placed'?",
        "No schema is registered for 'order-plced'; did you mean 'order-placed'?",
    ]


def test_a_handler_that_takes_everything_hears_and_one_that_takes_nothing_does_not() -> None:
    with strict_events(), collect_events([Recorder()]):
        dispatch("order-placed")
    nothing = collect_events([NullHandler()])
    with pytest.raises(AssertionError, match="Nobody listens"), strict_events(), nothing:
        dispatch("order-placed")


def test_what_is_captured_counts_and_what_is_discarded_does_not(local: LocalHandler) -> None:
    unheard = pytest.raises(AssertionError, match="Nobody listens to 'order-cooked'")
    with unheard, strict_events(), capture_events(), collect_events([local]):
        dispatch("order-placed")
        dispatch("order-cooked")
    with strict_events(), pytest.raises(KeyError), collect_events([local]):
        dispatch("unknown")
        raise KeyError


def test_a_model_is_a_schema_also_one_that_a_function_asks_for(local: LocalHandler) -> None:
    class Paid(BaseModel):
        __event_name__ = "order-paid"
        number: int = 1

    local.register(lambda event: None, event_name="order-*")
    with strict_events(), collect_events([local]):
        dispatch(Paid())
    undescribed = pytest.raises(AssertionError, match="No schema is registered for 'order-paid'")
    with undescribed, strict_events(), collect_events([local]):
        dispatch("order-paid", {"number": 1})

    @local.register(Paid)
    def ship(paid: Paid) -> None: ...

    with strict_events(), collect_events([local]):
        dispatch("order-paid", {"number": 1})


def test_what_functions_dispatch_counts_too(queue: DramatiqHandler) -> None:
    queue.register(lambda event: dispatch("order-cooked"), event_name="order-placed", name="cook")
    unheard = pytest.raises(AssertionError, match="Nobody listens to 'order-cooked'")
    with unheard, strict_events(), InlineWorker(queue) as worker:
        worker.emit("order-placed")

    @queue.register(event_name="order-cooked")
    def serve(event: Event) -> None: ...

    with strict_events(), InlineWorker(queue) as worker:
        worker.emit("order-placed")


def test_the_option_fails_the_test_itself(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from fastapi_events.dispatcher import dispatch

        def test_unheard(events):
            dispatch("tea-spilt")

        def test_other():
            pass
        """
    )
    pytester.runpytest_inprocess("-p", "no:asyncio").assert_outcomes(passed=2)
    # In a process of its own: the handlers of other tests may listen to everything.
    result = pytester.runpytest_subprocess("-p", "no:asyncio", "--events-strict")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*Nobody listens to 'tea-spilt'.", "*No schema is registered for 'tea-spilt'."]
    )
