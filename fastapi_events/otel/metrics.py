"""Counts and measures what happens to events, with OpenTelemetry.

```python
from fastapi_events.lifecycle import observe
from fastapi_events.otel.metrics import MetricsLifecycle

observe(MetricsLifecycle())
```
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi_events.errors import MissingDependencyError
from fastapi_events.measures import BUCKETS, COUNTERS, HISTOGRAMS, MeasuringLifecycle

try:
    from opentelemetry.metrics import Counter, Histogram, MeterProvider, get_meter
except ImportError as _missing:
    raise MissingDependencyError("opentelemetry-api", "otel") from _missing


class MetricsLifecycle(MeasuringLifecycle):
    """A counter for each thing that can happen: `fastapi_events.events.lost` and so on; and three histograms.

    Its attributes are `event`, the event's name, and `handler` or `subscription`.

    Parameters:
        provider: Makes the instruments; the global one if not given.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        super().__init__()
        self._meter = get_meter("fastapi_events", meter_provider=provider)
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def count(self, counter: str, labels: Sequence[str], number: int = 1) -> None:
        """Add to a counter, which is made when it is needed first."""
        description, names = COUNTERS[counter]
        made = self._counters.get(counter)
        if made is None:
            made = self._counters[counter] = self._meter.create_counter(
                f"fastapi_events.events.{counter}", unit="{event}", description=description
            )
        made.add(number, _attributes(names, labels))

    def measure(self, histogram: str, labels: Sequence[str], seconds: float) -> None:
        """Add to a histogram, which is made when it is needed first."""
        description, names = HISTOGRAMS[histogram]
        made = self._histograms.get(histogram)
        if made is None:
            made = self._histograms[histogram] = self._meter.create_histogram(
                f"fastapi_events.events.{histogram}",
                unit="s",
                description=description,
                explicit_bucket_boundaries_advisory=BUCKETS,
            )
        made.record(seconds, _attributes(names, labels))


def _attributes(names: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    return {name: label for name, label in zip(names, labels, strict=True) if label}
