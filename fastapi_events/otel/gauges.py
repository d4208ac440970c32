"""What waits in queues and stores, as gauges of OpenTelemetry.

```python
from fastapi_events.otel.gauges import export_gauges
from fastapi_events.status import StatusReader

export_gauges(StatusReader(events))
```
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from fastapi_events.bounded_call import made_at_once
from fastapi_events.errors import MissingDependencyError
from fastapi_events.measures import GAUGES, Reading

try:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
except ImportError as _missing:
    raise MissingDependencyError("opentelemetry-api", "otel") from _missing

_GOOD_FOR_SECONDS = 1.0


class Source(Protocol):
    """Who knows the values: a `StatusReader`."""

    def readings(self) -> Iterable[Reading]:
        """The values of the gauges, as they are now."""


def export_gauges(*sources: Source, provider: MeterProvider | None = None) -> None:
    """Have gauges read from handlers whenever OpenTelemetry collects them; it does so in a thread of its own.

    Once for each process that is to tell, of which one is enough: brokers and stores say the same to all.

    Parameters:
        sources: A `StatusReader` for each handler.
        provider: Makes the gauges; the global one if not given.
    """
    meter = get_meter("fastapi_events", meter_provider=provider)
    read = _Together(sources)
    for gauge, (description, names) in GAUGES.items():
        meter.create_observable_gauge(
            f"fastapi_events.{gauge}",
            [_observe(read, gauge, names)],
            unit="s" if gauge.endswith(".oldest") else "",
            description=description,
        )


class _Together:
    """Asks the sources once for all gauges: each is collected by a call of its own."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._lock = threading.Lock()
        self._found: list[Reading] = []
        self._good_until = 0.0

    def __call__(self) -> list[Reading]:
        with self._lock:
            if time.monotonic() > self._good_until:
                told = made_at_once([each.readings for each in self._sources])
                self._found = [reading for several in told for reading in several]
                self._good_until = time.monotonic() + _GOOD_FOR_SECONDS
            return self._found


def _observe(
    read: _Together, gauge: str, names: Sequence[str]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(each.value, dict(zip(names, each.labels, strict=True)))
            for each in read()
            if each.gauge == gauge
        ]

    return observe
