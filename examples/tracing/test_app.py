from app.handlers import cook
from app.telemetry import set_up
from app.web import app
from fastapi.testclient import TestClient
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fastapi_events.testing import InlineWorker

spans = InMemorySpanExporter()
reader = InMemoryMetricReader()
set_up("test", spans, reader)
client = TestClient(app)  # without `with`: the lifespan, which would set up the other one, does not run


def test_a_function_links_to_the_request_that_dispatched(worker: InlineWorker) -> None:
    spans.clear()
    client.post("/orders/7")
    worker.run().assert_ran(cook, times=1)
    found = {span.name: span for span in spans.get_finished_spans()}
    dispatched = found["Event order-placed dispatched"]
    (handled,) = (span for name, span in found.items() if name.startswith("handling event order-placed"))
    assert [link.context.span_id for link in handled.links] == [dispatched.context.span_id]
    assert found["heat the oven"].parent == handled.context


def test_what_became_of_events_is_counted(worker: InlineWorker) -> None:
    client.post("/orders/7")
    worker.run()
    (resource,) = reader.get_metrics_data().resource_metrics
    names = {metric.name for scope in resource.scope_metrics for metric in scope.metrics}
    assert {"fastapi_events.events.published", "fastapi_events.events.succeeded"} <= names
