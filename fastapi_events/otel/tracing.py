"""Spans around dispatching and handling, and the context that connects them.

Where OpenTelemetry is not installed, or no SDK has been set up, nothing of this costs more than a look: even
a span that records nothing takes longer to make than an event. Its API is used only once somebody else has
imported it: before that there is no SDK and no span, and importing it takes a third of what all of this does.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, TypeAlias

from fastapi_events.event import Event, EventName

Span: TypeAlias = AbstractContextManager[Any]

_NO_SPAN: Span = nullcontext()

recording: bool = False
"""Whether a tracer provider was ever seen; it can be set once, and is not taken away again."""

_spans: ModuleType | None = None

if "OTEL_PYTHON_TRACER_PROVIDER" in os.environ:  # names an SDK, which the API sets up when it is first asked
    with contextlib.suppress(ImportError):
        import opentelemetry.trace  # noqa: F401


def _api() -> ModuleType | None:
    """`fastapi_events.otel.spans`, once somebody has imported OpenTelemetry's API."""
    global _spans
    if _spans is None and sys.modules.get("opentelemetry.trace") is not None:
        from fastapi_events.otel import spans

        _spans = spans
    return _spans


def records() -> bool:
    """Whether somebody has set up an SDK, so that spans are more than a cost.

    Until then each look asks the environment, so whoever handles many events looks once and says so to each.
    """
    global recording
    if not recording:
        spans = _api()
        recording = spans is not None and spans.has_sdk()
    return recording


def dispatch_span(event_name: EventName) -> Span:
    """A span named `Event NAME dispatched`, around a `dispatch()`."""
    spans = _api() if records() else None
    return _NO_SPAN if spans is None else spans.dispatch_span(event_name)


def handle_span(event: Event, handler: object, batch: Sequence[Event] = ()) -> Span:
    """A span named `handling event NAME with HANDLER`, around the handling of one event, or of a batch.

    It links to the span that dispatched the event; with FASTAPI_EVENTS_USE_SPAN_LINKING off it is the child
    of that span, and links to the current one.
    """
    spans = _api() if records() else None
    return _NO_SPAN if spans is None else spans.handle_span(event, handler, batch)


def record_failure(error: BaseException, event: Event) -> None:
    """Record an error on the current span that is caught inside of it, as one is that leaves it.

    Parameters:
        event: Whose values are masked that nobody may see.
    """
    if recording and (spans := _api()) is not None:
        spans.record_failure(error, event)


def current_trace_id(event: Event | None) -> str | None:
    """The id of the current trace, or of the one in which an event was dispatched."""
    spans = _api()
    found: str | None = None if spans is None else spans.current_trace_id()
    if found is not None:
        return found
    parts = str(event.headers.get("traceparent", "")).split("-") if event is not None else []
    return parts[1] if len(parts) == 4 else None


def has_context() -> bool:
    """Whether there is a current span, whose context `inject` would write; without an SDK a remote one."""
    spans = _api()
    return spans is not None and spans.has_context()


def concerns_events() -> bool:
    """Whether events that are dispatched now get spans, or at least carry the context of one."""
    return records() or has_context()


def inject(event: Event) -> None:
    """Write the current span's context into an event's headers: `traceparent`, and `tracestate` if any."""
    if (spans := _api()) is not None and spans.has_context():
        spans.inject(event)
