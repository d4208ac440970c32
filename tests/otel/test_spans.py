"""What spans say, and how one continues another."""

from __future__ import annotations

import os
import subprocess
import sys
from enum import Enum
from typing import Any

import pytest
from opentelemetry import baggage, context, trace

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.otel import tracing
from fastapi_events.scope import collect_events
from tests.places import QueuePlace, dramatiq_on_stub
from tests.recording import Recorder


class Cat(Enum):
    WOKE = "woke"


@pytest.mark.parametrize("payload", [None, {"n": 1}, 5, [1]])
def test_dispatching_and_handling_make_spans(spans: Any, payload: Any) -> None:
    handler = LocalHandler()
    handler.register(lambda event: None)

    with collect_events([handler]):
        dispatch("hello", payload=payload)

    [dispatched] = spans("Event hello dispatched")
    [handled] = spans("handling event hello with LocalHandler")
    assert dispatched.kind is trace.SpanKind.PRODUCER
    assert handled.kind is trace.SpanKind.CONSUMER
    [event_id] = {each.attributes["messaging.message.id"] for each in (dispatched, handled)}
    assert dispatched.attributes == {
        "messaging.system": "fastapi_events",
        "messaging.operation.name": "dispatch",
        "messaging.operation.type": "create",
        "messaging.destination.name": "hello",
        "messaging.message.id": event_id,
        "messaging.message.conversation_id": event_id,
    }
    assert handled.attributes == {
        **dispatched.attributes,
        "messaging.operation.name": "handle",
        "messaging.operation.type": "process",
        "fastapi_events.handler": "fastapi_events.handlers.local.LocalHandler",
    }
    assert [link.context.span_id for link in handled.links] == [dispatched.context.span_id]


def test_without_linking_the_handling_is_a_child(spans: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_EVENTS_USE_SPAN_LINKING", "false")
    handler = LocalHandler()
    handler.register(lambda event: None)

    with collect_events([handler]):
        dispatch("hello")

    [dispatched], [handled] = spans("Event hello dispatched"), spans("handling event hello with LocalHandler")
    assert handled.parent.span_id == dispatched.context.span_id
    assert handled.context.trace_id == dispatched.context.trace_id


def test_an_enum_member_is_spelled_as_before(spans: Any) -> None:
    with collect_events([Recorder()]):
        dispatch(Cat.WOKE)

    assert len(spans("Event Cat.WOKE dispatched")) == 1


def test_the_context_travels_in_the_headers_and_not_in_the_payload(spans: Any) -> None:
    recorder, payload = Recorder(), {"n": 1}

    with collect_events([recorder]):
        dispatch("hello", payload=payload)

    [event] = recorder.events
    [dispatched] = spans("Event hello dispatched")
    assert (
        f"{dispatched.context.trace_id:032x}-{dispatched.context.span_id:016x}"
        in event.headers["traceparent"]
    )
    assert payload == {"n": 1} == event.payload


def test_a_failure_is_recorded_on_the_span(spans: Any) -> None:
    handler = LocalHandler()

    @handler.register
    def fail(event: Event) -> None:
        raise ValueError("no")

    @handler.register
    def fail_too(event: Event) -> None:
        raise KeyError("neither")

    with collect_events([handler]):
        dispatch("hello")

    [handled] = spans("handling event hello with LocalHandler")
    assert handled.status.status_code is trace.StatusCode.ERROR
    assert [each.attributes["exception.type"] for each in handled.events] == ["ValueError", "KeyError"]
    [dispatched] = spans("Event hello dispatched")
    assert dispatched.status.status_code is trace.StatusCode.UNSET


def test_a_failure_in_a_worker_is_recorded_on_the_span(spans: Any) -> None:
    with dramatiq_on_stub() as place:

        @place.handler.register(name="fail")
        def fail(event: Event) -> None:
            raise ValueError("no")

        place.dispatch("hello")
        place.settle()

    attempts = spans(f"handling event hello with {type(place.handler).__name__}")
    assert attempts
    for handled in attempts:
        assert handled.status.status_code is trace.StatusCode.ERROR
        assert [each.attributes["exception.type"] for each in handled.events] == ["ValueError"]
        assert handled.attributes["error.type"] == "ValueError"


def test_an_error_that_leaves_dispatch_is_recorded_on_its_span(spans: Any) -> None:
    with pytest.raises(ConfigurationError), collect_events([Recorder()]):
        dispatch("hello", headers={"No Header": "x"})

    [dispatched] = spans("Event hello dispatched")
    assert dispatched.status.status_code is trace.StatusCode.ERROR
    assert len(dispatched.events) == 1


def test_no_more_than_the_context_travels(spans: Any) -> None:
    """Baggage may hold what is nobody else's business, and brokers keep what they are sent."""
    recorder = Recorder()
    token = context.attach(baggage.set_baggage("user", "alice"))
    try:
        with collect_events([recorder]):
            dispatch("hello")
    finally:
        context.detach(token)

    assert set(recorder.events[0].headers) == {"correlationid", "traceparent"}


def test_a_worker_continues_the_trace(spans: Any, queue_place: QueuePlace) -> None:
    queue_place.handler.register(lambda event: None, name="work")

    queue_place.dispatch("hello")

    [dispatched], [handled] = (
        spans("Event hello dispatched"),
        spans(f"handling event hello with {type(queue_place.handler).__name__}"),
    )
    assert [link.context.span_id for link in handled.links] == [dispatched.context.span_id]
    assert handled.attributes["messaging.system"] == queue_place.handler.engine.name
    assert handled.attributes["messaging.destination.subscription.name"] == "work"
    assert handled.attributes["fastapi_events.attempt"] == 1
    assert handled.attributes["messaging.message.id"] == dispatched.attributes["messaging.message.id"]


def test_a_batch_links_to_all_that_dispatched_its_events(spans: Any) -> None:
    handler, events = LocalHandler(), []
    for name in ("one", "other"):
        recorder = Recorder()
        with collect_events([recorder]):
            dispatch(name)
        events += recorder.events

    with tracing.handle_span(events[0], handler, events):
        pass

    [handled] = spans("handling event one with LocalHandler")
    dispatched = [*spans("Event one dispatched"), *spans("Event other dispatched")]
    assert [link.context.span_id for link in handled.links] == [each.context.span_id for each in dispatched]
    assert handled.attributes["messaging.batch.message_count"] == 2


@pytest.mark.parametrize("configured", ["", "none", "one-that-is-not-installed"])
def test_the_context_of_a_span_that_somebody_else_made_travels_without_an_sdk(configured: str) -> None:
    """Whatever propagates over HTTP: the envelope's attributes are W3C trace context."""
    code = (
        "from opentelemetry import context, trace\n"
        "from fastapi_events.otel import tracing\n"
        "span = trace.NonRecordingSpan(trace.SpanContext(0xab, 0xcd, True, trace.TraceFlags(1)))\n"
        "context.attach(trace.set_span_in_context(span))\n"
        "from fastapi_events.event import Event\n"
        "event = Event('a', headers={}); tracing.inject(event)\n"
        "print(event.headers)\n"
    )
    environment = {**os.environ, "OTEL_PROPAGATORS": configured}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.stdout == f"{{'traceparent': '00-{0xAB:032x}-{0xCD:016x}-01'}}\n", run.stderr
