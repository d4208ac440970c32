"""What log records of a running function say of its event.

```python
for each in logging.getLogger().handlers:
    each.addFilter(EventFields())
    each.setFormatter(logging.Formatter("%(levelname)s %(event_id)s %(subscription)s %(message)s"))
```
"""

from __future__ import annotations

import logging
from typing import TypedDict

from fastapi_events.context import current_attempt, current_event, current_subscription
from fastapi_events.event import wire_name
from fastapi_events.otel import tracing


class Fields(TypedDict):
    """What is known of the function that runs; None where no function runs, or it is not known.

    Parameters:
        event_id: Of the event that it handles.
        event_name: Of the event that it handles.
        subscription: Its name.
        attempt: Which attempt it is, counted from 1.
        correlation_id: What the events of a chain have in common.
        trace_id: Of the trace that it is part of, 32 hexadecimal digits.
    """

    event_id: str | None
    event_name: str | None
    subscription: str | None
    attempt: int | None
    correlation_id: str | None
    trace_id: str | None


_NOTHING: Fields = {
    "event_id": None, "event_name": None, "subscription": None, "attempt": None, "correlation_id": None,
    "trace_id": None,
}  # fmt: skip


def event_fields() -> Fields:
    """What is known of the function that runs here; for structlog's processors and loguru's patcher.

    A function with `batch=` has many events: of those the first is named.
    """
    event = current_event.get()
    if event is None:
        return {**_NOTHING, "trace_id": tracing.current_trace_id(None)}
    return {
        "event_id": event.id,
        "event_name": wire_name(event.name),
        "subscription": current_subscription.get(),
        "attempt": current_attempt.get(),
        "correlation_id": event.headers.get("correlationid"),
        "trace_id": tracing.current_trace_id(event),
    }


class EventFields(logging.Filter):
    """Gives each record the fields of `event_fields`; what a record has already stays."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record through, with its fields."""
        for name, value in event_fields().items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True
