"""Counts what happens to events, with OpenTelemetry.

```python
from fastapi_events.lifecycle import observe
from fastapi_events.otel.metrics import MetricsLifecycle

observe(MetricsLifecycle())
```
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi_events.errors import MissingDependencyError
from fastapi_events.event import Event, wire_name
from fastapi_events.lifecycle import Lifecycle

try:
    from opentelemetry.metrics import Counter, MeterProvider, get_meter
except ImportError as _missing:
    raise MissingDependencyError("opentelemetry-api", "otel") from _missing


class MetricsLifecycle(Lifecycle):
    """A counter for each thing that can happen: `fastapi_events.events.lost` and so on.

    Its attributes are `event`, the event's name, and `handler` or `subscription`.

    Parameters:
        provider: Makes the counters; the global one if not given.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        self._meter = get_meter("fastapi_events", meter_provider=provider)
        self._counters: dict[str, Counter] = {}

    def dispatched(self, event: Event) -> None:
        self._count("dispatched", event)

    def discarded(self, event: Event) -> None:
        self._count("discarded", event)

    def published(self, events: Sequence[Event], *, handler: str) -> None:
        for event in events:
            self._count("published", event, handler=handler)

    def lost(self, event: Event, *, handler: str, reason: str) -> None:
        self._count("lost", event, handler=handler)

    def unmatched(self, event: Event, *, handler: str) -> None:
        self._count("unmatched", event, handler=handler)

    def succeeded(self, event: Event, *, subscription: str) -> None:
        self._count("succeeded", event, subscription=subscription)

    def failed(
        self, events: Sequence[Event], *, handler: str, subscription: str | None, error: BaseException
    ) -> None:
        where = {"handler": handler} if subscription is None else {"subscription": subscription}
        for event in events:
            self._count("failed", event, **where)

    def retried(
        self, event: Event, *, subscription: str, error: BaseException, attempt: int, wait: float
    ) -> None:
        self._count("retried", event, subscription=subscription)

    def dead(self, event: Event | None, *, subscription: str, reason: str, attempts: int) -> None:
        self._count("dead", event, subscription=subscription)

    def _count(self, what: str, event: Event | None, **attributes: str) -> None:
        counter = self._counters.get(what)
        if counter is None:
            counter = self._counters[what] = self._meter.create_counter(
                f"fastapi_events.events.{what}", unit="{event}", description=f"Events {what}."
            )
        name = "unreadable" if event is None else wire_name(event.name)
        counter.add(1, {"event": name, **attributes})
