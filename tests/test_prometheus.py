"""Metrics in Prometheus form."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.handlers.task_queue.depth import QueueDepth
from fastapi_events.measures import COUNTERS, GAUGES, HISTOGRAMS
from fastapi_events.prometheus import MetricsPage, PrometheusLifecycle, metrics_app
from fastapi_events.storage.memory import MemoryStore
from tests.handlers.task_queue.broker import ListEngine, ListHandler
from tests.places import dramatiq_on_stub
from tests.test_measures import live_through_everything

ROOT = Path(__file__).parents[1]

COUNTING = """
from fastapi_events.prometheus import PrometheusLifecycle
from tests.test_measures import live_through_everything
observer = PrometheusLifecycle()
live_through_everything(observer)
"""


def families(page: bytes) -> dict[str, dict[tuple[str, ...], float]]:
    """Each metric on a page: its values by the values of its labels."""
    return {
        sample.name: {
            tuple(value for _, value in sorted(each.labels.items())): each.value
            for each in family.samples
            if each.name == sample.name
        }
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def gauge_name(gauge: str) -> str:
    return f"fastapi_events_{gauge.replace('.', '_')}{'_seconds' if gauge.endswith('.oldest') else ''}"


def exported() -> set[str]:
    """The names of all metrics that there are, without suffixes of histograms."""
    gauges = set(map(gauge_name, GAUGES))
    counters = {f"fastapi_events_events_{each}_total" for each in COUNTERS}
    return gauges | counters | {f"fastapi_events_events_{each}_seconds" for each in HISTOGRAMS}


def test_every_counter_and_histogram_is_on_the_page() -> None:
    registry = CollectorRegistry()
    live_through_everything(PrometheusLifecycle(registry))

    found = families(MetricsPage([], registry=registry).text())

    assert {f"fastapi_events_events_{each}_total" for each in COUNTERS} <= found.keys()
    assert {f"fastapi_events_events_{each}_seconds_count" for each in HISTOGRAMS} <= found.keys()
    assert found["fastapi_events_events_relayed_total"] == {("h",): 3}
    assert found["fastapi_events_events_lost_total"] == {("cat-fed", "h"): 1}


def test_the_gauges_of_handlers_are_read_when_the_page_is() -> None:
    store = MemoryStore()
    with dramatiq_on_stub(store=store, relay=False) as place:
        page = MetricsPage([place.handler, LocalHandler()], registry=CollectorRegistry())
        place.send("anything")

        found = families(page.text())

    assert found["fastapi_events_queue_ready"] == {("dramatiq:events", "events"): 1}
    assert found["fastapi_events_outbox_waiting"] == {("dramatiq:events",): 0}
    assert found["fastapi_events_dead_letters"] == {("dramatiq:events",): 0}
    assert {name for name in found if name.startswith("fastapi_events_")} <= exported()


def test_handlers_are_asked_at_the_same_time() -> None:
    met = threading.Barrier(2, timeout=30)

    class Meeting(ListEngine):
        def depths(self, queues: Collection[str], *, timeout: float) -> Sequence[QueueDepth]:
            met.wait()
            return [QueueDepth(queue=each, ready=1) for each in queues]

    handlers = [ListHandler(Meeting(), queue=each, relay=False) for each in ("a", "b")]

    found = families(MetricsPage(handlers, registry=CollectorRegistry()).text())

    assert found["fastapi_events_queue_ready"] == {("list:a", "a"): 1, ("list:b", "b"): 1}


def test_processes_that_write_into_one_folder_are_added_up(tmp_path: Path) -> None:
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", COUNTING], cwd=ROOT, env=env, check=True, timeout=120)

    reading = "from fastapi_events.prometheus import MetricsPage\nprint(MetricsPage([]).text().decode())"
    ran = subprocess.run(
        [sys.executable, "-c", reading], cwd=ROOT, env=env, check=True, timeout=120, capture_output=True
    )

    found = families(ran.stdout)
    assert found["fastapi_events_events_relayed_total"] == {("h",): 6}
    assert found["fastapi_events_events_handling_seconds_count"] == {("cat-fed", "s"): 2}


async def get(app: Any, method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, "/metrics")


def test_the_application_answers_with_the_page() -> None:
    registry = CollectorRegistry()
    Counter("ours", "One of the application.", registry=registry).inc()
    app = metrics_app([ListHandler()], registry=registry)

    answer = asyncio.run(get(app))

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = families(answer.content)
    assert found["ours_total"] == {(): 1}
    assert found["fastapi_events_problems"] == {("list:events",): 0}

    head = asyncio.run(get(app, "HEAD"))
    assert (head.status_code, head.content) == (200, b"")
    refused = asyncio.run(get(app, "POST"))
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("handlers", [LocalHandler(), None, ["events"]], ids=["one", "none", "text"])
def test_what_is_no_list_of_handlers_is_refused(handlers: Any) -> None:
    with pytest.raises(ConfigurationError, match="metrics_app"):
        metrics_app(handlers)


def test_the_page_on_metrics_lists_what_is_exported_and_its_labels() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    listed = {
        name: tuple(re.findall(r"`(\w+)`", labels))
        for name, labels in re.findall(r"^\| `(fastapi_events_\w+)` \| (.*?) \|", page, re.MULTILINE)
    }

    assert listed == labels_of_all()


def labels_of_all() -> dict[str, tuple[str, ...]]:
    return {
        **{f"fastapi_events_events_{name}_total": labels for name, (_, labels) in COUNTERS.items()},
        **{f"fastapi_events_events_{name}_seconds": labels for name, (_, labels) in HISTOGRAMS.items()},
        **{gauge_name(name): labels for name, (_, labels) in GAUGES.items()},
    }


def test_the_dashboard_and_the_alerts_ask_for_what_is_exported() -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    page = (ROOT / "docs" / "metrics.md").read_text()
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for query in (*queries, page) for name in re.findall(r"\bfastapi_events_\w+", query)}

    assert len(queries) >= 10
    assert {name.removesuffix("_bucket") for name in asked} <= exported()
    for query in queries:
        [name] = re.findall(r"\bfastapi_events_\w+", query)
        for labels in re.findall(r"\bby \(([^)]*)\)", query):
            of_it = labels_of_all()[name.removesuffix("_bucket")]
            assert set(labels.split(", ")) <= {*of_it, "le"}, query
