"""What waits in queues and stores, as gauges of OpenTelemetry."""

from __future__ import annotations

import threading
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from fastapi_events.measures import GAUGES, Reading
from fastapi_events.otel.gauges import export_gauges
from fastapi_events.status import StatusReader
from tests.places import dramatiq_on_stub


class Told:
    """A source that counts how often it is asked."""

    def __init__(self, *readings: Reading) -> None:
        self.given = readings
        self.asked = 0

    def readings(self) -> list[Reading]:
        self.asked += 1
        return list(self.given)


def collected(reader: InMemoryMetricReader) -> dict[str, list[tuple[float, dict[str, Any]]]]:
    data: Any = reader.get_metrics_data()
    return {
        metric.name: [(point.value, dict(point.attributes)) for point in metric.data.data_points]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_all_sources_are_asked_once_for_all_gauges() -> None:
    one = Told(Reading("queue.ready", 3, ("a", "q")), Reading("workers", 2, ("a",)))
    other = Told(Reading("queue.ready", 5, ("b", "q")))
    reader = InMemoryMetricReader()
    export_gauges(one, other, provider=MeterProvider([reader]))
    assert one.asked == 0

    found = collected(reader)

    assert found["fastapi_events.queue.ready"] == [
        (3, {"handler": "a", "queue": "q"}),
        (5, {"handler": "b", "queue": "q"}),
    ]
    assert found["fastapi_events.workers"] == [(2, {"handler": "a"})]
    assert (one.asked, other.asked) == (1, 1)


def test_sources_are_asked_at_the_same_time() -> None:
    met = threading.Barrier(2, timeout=30)

    class Meeting(Told):
        def readings(self) -> list[Reading]:
            met.wait()
            return super().readings()

    reader = InMemoryMetricReader()
    sources = (Meeting(Reading("workers", number, (str(number),))) for number in (1, 2))
    export_gauges(*sources, provider=MeterProvider([reader]))

    assert [value for value, _ in collected(reader)["fastapi_events.workers"]] == [1, 2]


def test_a_handler_is_read_from_its_broker() -> None:
    with dramatiq_on_stub() as place:
        place.send("anything")
        place.send("anything")
        reader = InMemoryMetricReader()
        export_gauges(StatusReader(place.handler), provider=MeterProvider([reader]))

        found = collected(reader)

    assert found["fastapi_events.queue.ready"] == [(2, {"handler": "dramatiq:events", "queue": "events"})]
    assert found.keys() <= {f"fastapi_events.{gauge}" for gauge in GAUGES}
