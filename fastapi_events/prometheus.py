"""Metrics in Prometheus form: an ASGI application to mount, and a lifecycle that counts.

```python
observe(PrometheusLifecycle())                       # in the module that web processes and workers import
app.mount("/metrics", metrics_app([events]))
```
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import Any

from fastapi_events import checks
from fastapi_events.bounded_call import made_at_once
from fastapi_events.errors import ConfigurationError, MissingDependencyError
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.inspection import listed_handlers
from fastapi_events.measures import BUCKETS, COUNTERS, GAUGES, HISTOGRAMS, MeasuringLifecycle
from fastapi_events.status import StatusReader

try:
    from prometheus_client import (
        CONTENT_TYPE_LATEST,
        REGISTRY,
        CollectorRegistry,
        Counter,
        Histogram,
        generate_latest,
    )
    from prometheus_client.metrics_core import GaugeMetricFamily, Metric
    from prometheus_client.multiprocess import MultiProcessCollector
    from prometheus_client.registry import Collector
except ImportError as _missing:
    raise MissingDependencyError("prometheus_client", "prometheus") from _missing

__all__ = ["MetricsPage", "PrometheusLifecycle", "metrics_app"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


class PrometheusLifecycle(MeasuringLifecycle):
    """A counter for each thing that can happen to events, `fastapi_events_events_lost_total` and so on, and
    three histograms.

    Parameters:
        registry: Where they are registered; once in each.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        super().__init__()
        self._counters = {
            name: Counter(f"fastapi_events_events_{name}", description, labels, registry=registry)
            for name, (description, labels) in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(
                f"fastapi_events_events_{name}_seconds",
                description,
                labels,
                buckets=BUCKETS,
                registry=registry,
            )
            for name, (description, labels) in HISTOGRAMS.items()
        }

    def count(self, counter: str, labels: Sequence[str], number: int = 1) -> None:
        """Add to a counter."""
        self._counters[counter].labels(*labels).inc(number)

    def measure(self, histogram: str, labels: Sequence[str], seconds: float) -> None:
        """Add to a histogram."""
        self._histograms[histogram].labels(*labels).observe(seconds)


@checks.names_parameters
class MetricsPage:
    """What Prometheus reads: the gauges of handlers, and what is registered in this process.

    With `PROMETHEUS_MULTIPROC_DIR` in the environment, the counters and histograms of all processes that
    write into this folder stand on it.

    Parameters:
        handlers: Those with a queue have gauges.
        registry: What is on the page beside them.
    """

    content_type: str = CONTENT_TYPE_LATEST
    """The value of the header `Content-Type`."""

    def __init__(
        self, handlers: Iterable[BaseEventHandler], *, registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._registry = checks.instance(
            "registry", registry, CollectorRegistry, such_as="CollectorRegistry()"
        )
        self._gauges = CollectorRegistry()
        self._gauges.register(
            _Gauges(
                [
                    StatusReader(each)
                    for each in listed_handlers(handlers, asking="MetricsPage")
                    if isinstance(each, TaskQueueHandler)
                ]
            )
        )

    def text(self) -> bytes:
        """The page. Asking brokers and stores may take some seconds: call it in a thread."""
        registry = self._registry
        if os.environ.get(_MULTIPROCESS):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry) + generate_latest(self._gauges)


def metrics_app(handlers: Iterable[BaseEventHandler], *, registry: CollectorRegistry = REGISTRY) -> ASGIApp:
    """Make an ASGI application that answers with a `MetricsPage`, whatever its path. It tells no payloads.

    Parameters:
        handlers: As the middleware was given them.
        registry: What is on the page beside their gauges.

    Raises:
        ConfigurationError: When they are no handlers.
    """
    return _MetricsApp(MetricsPage(listed_handlers(handlers, asking="metrics_app"), registry=registry))


class _MetricsApp:
    def __init__(self, page: MetricsPage) -> None:
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            raise ConfigurationError("metrics_app() answers HTTP; mount it: app.mount('/metrics', …).")
        status, body = 405, b"only GET is answered\n"
        if scope["method"] in ("GET", "HEAD"):
            status, body = 200, await asyncio.to_thread(self._page.text)
        headers = [
            (b"content-type", self._page.content_type.encode() if status == 200 else b"text/plain"),
            (b"content-length", str(len(body)).encode()),
            *([(b"allow", b"GET, HEAD")] if status == 405 else []),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class _Gauges(Collector):
    """Gauges that are read whenever metrics are collected."""

    def __init__(self, readers: Sequence[StatusReader]) -> None:
        self._readers = readers

    def describe(self) -> Iterator[Metric]:
        """Nothing: else the broker would be asked when this is registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        told = made_at_once([each.readings for each in self._readers])
        found = [reading for several in told for reading in several]
        for gauge, (description, labels) in GAUGES.items():
            unit = "_seconds" if gauge.endswith(".oldest") else ""
            name = f"fastapi_events_{gauge.replace('.', '_')}{unit}"
            family = GaugeMetricFamily(name, description, labels=labels)
            for each in found:
                if each.gauge == gauge:
                    family.add_metric(each.labels, each.value)
            yield family
