"""Log records of a running function say which event it handles."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.log_context import EventFields, event_fields
from fastapi_events.otel import tracing
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from tests import places

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"correlationid": "c1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}

Logged = list[dict[str, Any]]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[logging.Logger]:
    caplog.handler.addFilter(EventFields())
    logger = logging.getLogger("tests.shop")
    with caplog.at_level(logging.INFO, logger.name):
        yield logger


def fields_of(caplog: pytest.LogCaptureFixture) -> Logged:
    names = ("event_name", "subscription", "attempt", "correlation_id", "trace_id")
    records = [each for each in caplog.records if each.name == "tests.shop"]
    return [{name: getattr(each, name) for name in names} for each in records]


def test_a_function_in_process_is_named(
    logged: logging.Logger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With an SDK, which other tests of this process may have set up, the event has a trace of its own.
    monkeypatch.setattr(tracing, "recording", False)
    monkeypatch.setattr(tracing, "records", lambda: False)
    handler = LocalHandler()

    @handler.register(event_name="order")
    async def cook(event: Any) -> None:
        logged.info("cooking %s", event.id)

    with collect_events([handler]):
        dispatch("order", headers=HEADERS)
    logged.info("nobody")

    inside, outside = fields_of(caplog)
    assert inside["subscription"].endswith("cook")
    assert (inside["event_name"], inside["attempt"]) == ("order", 1)
    assert (inside["correlation_id"], inside["trace_id"]) == ("c1", TRACE)
    assert set(outside.values()) == {None}
    assert caplog.records[0].message == f"cooking {caplog.records[0].event_id}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_async", [True, False])
def test_each_attempt_in_a_worker_is_counted(
    queue_place: places.Place, logged: logging.Logger, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    policy = RetryPolicy(max_retries=2, min_backoff=0.001)
    attempts: list[int] = []

    def work() -> None:
        logged.info("working")
        attempts.append(1)
        if len(attempts) < 3:
            raise ValueError("no fish")

    if is_async:

        @queue_place.handler.register(event_name="order", name="cook", retry=policy)
        async def cook(event: Any) -> None:
            work()
    else:

        @queue_place.handler.register(event_name="order", name="cook", retry=policy)
        def cook_here(event: Any) -> None:
            work()

    queue_place.dispatch("order", headers=HEADERS)
    queue_place.settle()

    found = fields_of(caplog)
    assert [(each["subscription"], each["attempt"], each["correlation_id"]) for each in found] == [
        ("cook", 1, "c1"), ("cook", 2, "c1"), ("cook", 3, "c1"),
    ]  # fmt: skip


def test_the_current_trace_comes_first() -> None:
    tracer = TracerProvider().get_tracer("tests")

    with tracer.start_as_current_span("request") as span:
        assert event_fields()["trace_id"] == trace.format_trace_id(span.get_span_context().trace_id)
    assert event_fields()["trace_id"] is None


def test_what_a_record_has_already_stays() -> None:
    record = logging.LogRecord("shop", logging.INFO, "", 0, "hello", (), None)
    record.event_id = "mine"

    EventFields().filter(record)

    assert record.event_id == "mine"
    assert record.subscription is None  # type: ignore[attr-defined]
