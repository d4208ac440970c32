"""The spans themselves, by OpenTelemetry's API: imported once somebody else has imported that."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fastapi_events import redaction
from fastapi_events.context import current_attempt, current_subscription
from fastapi_events.environment import span_linking
from fastapi_events.event import Event, EventName, wire_name
from fastapi_events.otel.attributes import MessagingAttributes, SpanAttributes

# Not the global propagator: what an envelope may hold is W3C trace context, whatever OTEL_PROPAGATORS says
# about HTTP. Baggage stays here, since brokers keep what they are sent.
_propagator: Final = TraceContextTextMapPropagator()

_DISPATCHER: Final = "fastapi_events.dispatcher"
_OURSELVES: Final = "fastapi_events"


def has_sdk() -> bool:
    """Whether somebody has set up a tracer provider."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def dispatch_span(event_name: EventName) -> AbstractContextManager[Any]:
    """Make a span around a `dispatch()`, as the current one."""
    return trace.get_tracer(_DISPATCHER).start_as_current_span(
        f"Event {event_name} dispatched",
        kind=trace.SpanKind.PRODUCER,
        attributes={
            MessagingAttributes.SYSTEM: _OURSELVES,
            MessagingAttributes.OPERATION_NAME: "dispatch",
            MessagingAttributes.OPERATION_TYPE: "create",
            MessagingAttributes.DESTINATION: wire_name(event_name),
        },
    )


@contextmanager
def handle_span(event: Event, handler: object, batch: Sequence[Event] = ()) -> Iterator[Any]:
    """Make a span around the handling of an event, linked to the span that dispatched it or its child.

    What is raised inside is recorded without the event's values that nobody may see.
    """
    remote = _propagator.extract(_text(event.headers))
    others = [trace.get_current_span(_propagator.extract(_text(each.headers))) for each in batch[1:]]
    if span_linking():
        context, linked = None, [trace.get_current_span(remote), *others]
    else:
        context, linked = remote, [trace.get_current_span(), *others]
    contexts_of_links = [each.get_span_context() for each in linked]
    kind = type(handler)
    tracer = trace.get_tracer(kind.__module__)
    with tracer.start_as_current_span(
        f"handling event {event.name} with {kind.__name__}",
        context=context,
        links=[trace.Link(each) for each in contexts_of_links if each.is_valid],
        kind=trace.SpanKind.CONSUMER,
        attributes=_attributes(event, handler, len(batch)),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except Exception as error:
            record_failure(error, event)
            raise


def _attributes(event: Event, handler: object, size: int) -> dict[str, Any]:
    kind, subscription = type(handler), current_subscription.get()
    engine = getattr(getattr(handler, "engine", None), "name", None)
    found: dict[str, Any] = {
        SpanAttributes.HANDLER: f"{kind.__module__}.{kind.__name__}",
        MessagingAttributes.SYSTEM: engine if isinstance(engine, str) else _OURSELVES,
        MessagingAttributes.OPERATION_NAME: "handle",
        MessagingAttributes.OPERATION_TYPE: "process",
        MessagingAttributes.DESTINATION: wire_name(event.name),
        MessagingAttributes.MESSAGE_ID: event.id,
        MessagingAttributes.CONVERSATION_ID: str(event.headers.get("correlationid", event.id)),
    }
    if subscription is not None:
        found[MessagingAttributes.SUBSCRIPTION] = subscription
        found[SpanAttributes.ATTEMPT] = current_attempt.get()
    if size:
        found[MessagingAttributes.BATCH_SIZE] = size
    return found


def record_failure(error: BaseException, event: Event) -> None:
    """Record an error on the current span, without the event's values that nobody may see."""
    span = trace.get_current_span()
    text = redaction.scrubbed(str(error), [event])
    seen = {
        "exception.message": text,
        "exception.stacktrace": redaction.scrubbed("".join(traceback.format_exception(error)), [event]),
    }
    span.record_exception(error, attributes=seen)
    kind = type(error)
    of = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    span.set_attribute(MessagingAttributes.ERROR_TYPE, f"{of}{kind.__qualname__}")
    span.set_status(trace.StatusCode.ERROR, f"{type(error).__name__}: {text}")


def current_trace_id() -> str | None:
    """The id of the current trace, if there is one."""
    found = trace.get_current_span().get_span_context()
    return trace.format_trace_id(found.trace_id) if found.is_valid else None


def has_context() -> bool:
    """Whether there is a current span; without an SDK, a remote one."""
    # An empty context, as long as nobody makes spans, is told apart sooner than by asking for its span.
    return bool(contexts.get_current()) and trace.get_current_span() is not trace.INVALID_SPAN


def inject(event: Event) -> None:
    """Write the current span's context into an event's headers; if the span is ours, it gets the id."""
    _propagator.inject(event.headers)
    span = trace.get_current_span()
    if getattr(getattr(span, "instrumentation_scope", None), "name", "") == _DISPATCHER:
        span.set_attribute(MessagingAttributes.MESSAGE_ID, event.id)
        correlation = str(event.headers.get("correlationid", event.id))
        span.set_attribute(MessagingAttributes.CONVERSATION_ID, correlation)


def _text(headers: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if isinstance(value, str)}
