"""Spans around dispatching and handling, and the context that connects them.

Where OpenTelemetry is not installed, or no SDK has been set up, nothing of this costs more than a look: even
a span that records nothing takes longer to make than an event.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias

from fastapi_events import redaction
from fastapi_events.environment import span_linking
from fastapi_events.event import Event, EventName
from fastapi_events.otel.attributes import SpanAttributes

try:
    from opentelemetry import context as contexts
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    _installed = False
else:
    _installed = True
    # Not the global propagator: what an envelope may hold is W3C trace context, whatever OTEL_PROPAGATORS
    # says about HTTP. Baggage stays here, since brokers keep what they are sent.
    _propagator = TraceContextTextMapPropagator()

Span: TypeAlias = AbstractContextManager[Any]

_NO_SPAN: Span = nullcontext()

recording: bool = False
"""Whether a tracer provider was ever seen; it can be set once, and is not taken away again."""


def records() -> bool:
    """Whether somebody has set up an SDK, so that spans are more than a cost.

    Until then each look asks the environment, so whoever handles many events looks once and says so to each.
    """
    global recording
    if not recording and _installed:
        recording = not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    return recording


def dispatch_span(event_name: EventName) -> Span:
    """A span named `Event NAME dispatched`, around a `dispatch()`."""
    if not records():
        return _NO_SPAN
    tracer = trace.get_tracer("fastapi_events.dispatcher")
    return tracer.start_as_current_span(f"Event {event_name} dispatched", kind=trace.SpanKind.PRODUCER)


def handle_span(event: Event, handler: object) -> Span:
    """A span named `handling event NAME with HANDLER`, around the handling of one event.

    It links to the span that dispatched the event; with FASTAPI_EVENTS_USE_SPAN_LINKING off it is the child
    of that span, and links to the current one.
    """
    if not records():
        return _NO_SPAN
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
def _recording(span: Span, event: Event) -> Iterator[Any]:
    """Record what is raised inside of a span without the event's values that nobody may see."""
    with span as current:
        try:
            yield current
        except BaseException as error:
            record_failure(error, event)
            raise


def record_failure(error: BaseException, event: Event) -> None:
    """Record an error on the current span that is caught inside of it, as one is that leaves it.

    Parameters:
        event: Whose values are masked that nobody may see.
    """
    if not recording:
        return
    span = trace.get_current_span()
    text = redaction.scrubbed(str(error), [event])
    seen = {
        "exception.message": text,
        "exception.stacktrace": redaction.scrubbed("".join(traceback.format_exception(error)), [event]),
    }
    span.record_exception(error, attributes=seen)
    span.set_status(trace.StatusCode.ERROR, f"{type(error).__name__}: {text}")


def current_trace_id(event: Event | None) -> str | None:
    """The id of the current trace, or of the one in which an event was dispatched."""
    if _installed:
        found = trace.get_current_span().get_span_context()
        if found.is_valid:
            return trace.format_trace_id(found.trace_id)
    parts = str(event.headers.get("traceparent", "")).split("-") if event is not None else []
    return parts[1] if len(parts) == 4 else None


def has_context() -> bool:
    """Whether there is a current span, whose context `inject` would write; without an SDK a remote one."""
    # An empty context, as long as nobody makes spans, is told apart sooner than by asking for its span.
    return _installed and bool(contexts.get_current()) and trace.get_current_span() is not trace.INVALID_SPAN


def concerns_events() -> bool:
    """Whether events that are dispatched now get spans, or at least carry the context of one."""
    return records() or has_context()


def inject(headers: dict[str, Any]) -> None:
    """Write the current span's context into an event's headers: `traceparent`, and `tracestate` if any."""
    if has_context():
        _propagator.inject(headers)


def _text(headers: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if isinstance(value, str)}
