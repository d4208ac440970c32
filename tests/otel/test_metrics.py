"""Counters of what happens to events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from fastapi_events import lifecycle
from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.otel.metrics import MetricsLifecycle
from fastapi_events.scope import collect_events
from tests.places import dramatiq_on_stub
from tests.recording import Failing


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    observer = MetricsLifecycle(MeterProvider([reader]))
    lifecycle.observe(observer)
    yield reader
    lifecycle.forget(observer)


def counted(reader: InMemoryMetricReader) -> dict[str, dict[str, Any]]:
    data: Any = reader.get_metrics_data()
    return {
        metric.name.rpartition(".")[2]: {
            point.attributes.get("handler") or point.attributes.get("subscription") or "": getattr(
                point, "value", None
            )
            or point.count
            for point in metric.data.data_points
        }
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_what_happens_in_this_process_is_counted(reader: InMemoryMetricReader) -> None:
    handler = LocalHandler()
    handler.register(lambda event: None)

    with collect_events([handler, Failing(ValueError("no"))]):
        dispatch("hello")
        dispatch("hello")
    with pytest.raises(KeyError), collect_events([handler]):
        dispatch("hello")
        raise KeyError

    found = counted(reader)
    assert found["dispatched"] == {"": 3}
    assert found["discarded"] == {"": 1}
    assert found["failed"] == {"Failing": 2}
    assert list(found["succeeded"].values()) == [2]


def test_what_happens_in_a_worker_is_counted(reader: InMemoryMetricReader) -> None:
    with dramatiq_on_stub() as place:

        @place.handler.register(name="hopeless", event_name="bad")
        def hopeless(event: object) -> None:
            raise ValueError("no")

        place.dispatch("bad")
        place.dispatch("unheard")
        place.send("not an event")
        place.settle()

    found = counted(reader)
    assert "dramatiq:events" in found["published"]
    assert found["retried"] == {"hopeless": 2}
    assert found["dead"] == {"hopeless": 1, "fastapi_events.fan_out": 1}
    assert found["unmatched"] == {"dramatiq:events": 1}
