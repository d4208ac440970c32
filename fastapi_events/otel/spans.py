"""The spans themselves, by OpenTelemetry's API: imported once somebody else has imported that."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fastapi_events import redaction
from fastapi_events.environment import span_linking
from fastapi_events.event import Event, EventName
from fastapi_events.otel.attributes import SpanAttributes

# Not the global propagator: what an envelope may hold is W3C trace context, whatever OTEL_PROPAGATORS says
# about HTTP. Baggage stays here, since brokers keep what they are sent.
_propagator: Final = TraceContextTextMapPropagator()


def has_sdk() -> bool:
    """Whether somebody has set up a tracer provider."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def dispatch_span(event_name: EventName) -> AbstractContextManager[Any]:
    """Make a span around a `dispatch()`, as the current one."""
    tracer = trace.get_tracer("fastapi_events.dispatcher")
    return tracer.start_as_current_span(f"Event {event_name} dispatched", kind=trace.SpanKind.PRODUCER)


def handle_span(event: Event, handler: object) -> AbstractContextManager[Any]:
    """Make a span around the handling of one event, linked to the span that dispatched it or its child."""
    remote = _propagator.extract(_text(event.headers))
    if span_linking():
        context, linked = None, trace.get_current_span(remote)
    else:
        context, linked = remote, trace.get_current_span()
    span_context = linked.get_span_context()
    kind = type(handler)
    tracer = trace.get_tracer(kind.__module__)
    hidden = redaction.hides(event)
    span = tracer.start_as_current_span(
        f"handling event {event.name} with {kind.__name__}",
        context=context,
        links=[trace.Link(span_context)] if span_context.is_valid else [],
        kind=trace.SpanKind.CONSUMER,
        attributes={SpanAttributes.HANDLER: f"{kind.__module__}.{kind.__name__}"},
        record_exception=not hidden,
        set_status_on_exception=not hidden,
    )
    return _recording(span, event) if hidden else span


@contextmanager
def _recording(span: AbstractContextManager[Any], event: Event) -> Iterator[Any]:
    """Record what is raised inside of a span without the event's values that nobody may see."""
    with span as current:
        try:
            yield current
        except BaseException as error:
            record_failure(error, event)
            raise


def record_failure(error: BaseException, event: Event) -> None:
    """Record an error on the current span, without the event's values that nobody may see."""
    span = trace.get_current_span()
    text = redaction.scrubbed(str(error), [event])
    seen = {
        "exception.message": text,
        "exception.stacktrace": redaction.scrubbed("".join(traceback.format_exception(error)), [event]),
    }
    span.record_exception(error, attributes=seen)
    span.set_status(trace.StatusCode.ERROR, f"{type(error).__name__}: {text}")


def current_trace_id() -> str | None:
    """The id of the current trace, if there is one."""
    found = trace.get_current_span().get_span_context()
    return trace.format_trace_id(found.trace_id) if found.is_valid else None


def has_context() -> bool:
    """Whether there is a current span; without an SDK, a remote one."""
    # An empty context, as long as nobody makes spans, is told apart sooner than by asking for its span.
    return bool(contexts.get_current()) and trace.get_current_span() is not trace.INVALID_SPAN


def inject(headers: dict[str, Any]) -> None:
    """Write the current span's context into headers."""
    _propagator.inject(headers)


def _text(headers: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if isinstance(value, str)}
