"""The SDK: a process of the web and one of the workers call `set_up` when they start."""

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor, SpanExporter

from fastapi_events.lifecycle import observe
from fastapi_events.otel.metrics import MetricsLifecycle


def set_up(service: str, spans: SpanExporter | None = None, reader: MetricReader | None = None) -> None:
    """Export spans and counters: to the terminal, unless an exporter is given."""
    resource = Resource.create({"service.name": service})
    tracing = TracerProvider(resource=resource)
    tracing.add_span_processor(SimpleSpanProcessor(spans or ConsoleSpanExporter()))
    trace.set_tracer_provider(tracing)
    reader = reader or PeriodicExportingMetricReader(ConsoleMetricExporter())
    metrics.set_meter_provider(MeterProvider([reader], resource=resource))
    observe(MetricsLifecycle())
