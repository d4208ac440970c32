"""What three processes export of a chain with a failed attempt and a delay is one tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.brokers import BROKERS
from tests.processes import Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

EVENTS = """
    import json, os
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
    {broker}

    class Lines(SpanExporter):
        def export(self, spans):
            with open("spans.jsonl", "a") as file:
                for each in spans:
                    file.write(json.dumps({{"pid": os.getpid(), **json.loads(each.to_json())}}) + chr(10))
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Lines()))
    trace.set_tracer_provider(provider)
"""

KITCHEN = """
    from app.events import broker, events
    from fastapi_events.dispatcher import dispatch
    from fastapi_events.retry import RetryPolicy

    seen = []

    once_more = RetryPolicy(max_retries=1, min_backoff=0.1)

    @events.register(event_name="order", name="cook", queue="kitchen", retry=once_more)
    def cook(event):
        seen.append(event.id)
        if len(seen) == 1:
            raise ValueError("no fish")
        dispatch("cooked", delay=0.5)
"""

HALL = """
    from app.events import broker, events

    @events.register(event_name="cooked", name="serve", queue="hall")
    async def serve(event):
        print("served", flush=True)
"""

REQUEST = """
from app.events import events
from fastapi_events.dispatcher import dispatch
from fastapi_events.scope import collect_events
from opentelemetry import trace
with trace.get_tracer("web").start_as_current_span("POST /orders", kind=trace.SpanKind.SERVER):
    with collect_events([events], raise_errors=True):
        dispatch("order", {"cat": 1})
"""

COMMANDS = {
    "dramatiq": lambda module: ("dramatiq", module, "--processes", "1", "--threads", "2"),
    "celery": lambda module: (
        "celery", "-A", module, "worker", "--pool", "threads", "-c", "1", "-n", module, "--loglevel", "info"
    ),
}  # fmt: skip


def spans_in(folder: Path) -> list[dict[str, Any]]:
    path = folder / "spans.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("engine", ["dramatiq", "celery"])
def test_the_spans_of_three_processes_are_one_tree(project: Project, engine: str) -> None:
    project.write(events=EVENTS.format(broker=BROKERS[engine].strip()), kitchen=KITCHEN, hall=HALL)
    says = {"dramatiq": "is ready for action", "celery": " ready."}[engine]
    for module in ("app.kitchen", "app.hall"):
        project.start(*COMMANDS[engine](module), FASTAPI_EVENTS_USE_SPAN_LINKING="0")
    until(lambda: project.logs().count(says) == 2, "the workers' start")

    project.run(REQUEST)
    kind = {"dramatiq": "DramatiqHandler", "celery": "CeleryHandler"}[engine]
    last = f"handling event cooked with {kind}"
    until(lambda: last in [each["name"] for each in spans_in(project.folder)], "the last function's span")

    spans = spans_in(project.folder)
    [request] = [each for each in spans if each["name"] == "POST /orders"]
    assert {each["context"]["trace_id"] for each in spans} == {request["context"]["trace_id"]}
    by_id = {each["context"]["span_id"]: each for each in spans}
    tree = sorted(
        (each["start_time"], each["name"], by_id[each["parent_id"]]["name"] if each["parent_id"] else None)
        for each in spans
    )
    cooking = f"handling event order with {kind}"
    assert [named[1:] for named in tree] == [
        ("POST /orders", None),
        ("Event order dispatched", "POST /orders"),
        (cooking, "Event order dispatched"),
        (cooking, "Event order dispatched"),
        ("Event cooked dispatched", cooking),
        (last, "Event cooked dispatched"),
    ]
    attempts = [each for each in spans if each["name"] == cooking]
    failed, done = sorted(attempts, key=lambda each: str(each["start_time"]))
    assert (failed["status"]["status_code"], done["status"]["status_code"]) == ("ERROR", "UNSET")
    assert failed["attributes"]["error.type"] == "ValueError"
    assert [each["attributes"]["fastapi_events.attempt"] for each in (failed, done)] == [1, 2]
    [dispatched] = [each for each in spans if each["name"] == "Event cooked dispatched"]
    assert by_id[dispatched["parent_id"]] is done
    pids = [
        {each["pid"] for each in spans if each["attributes"].get(name) == value}
        for name, value in (
            ("messaging.operation.type", "create"),
            ("messaging.destination.subscription.name", "cook"),
            ("messaging.destination.subscription.name", "serve"),
        )
    ]
    assert len(set.union(*pids)) == 3
    conversations = {each["attributes"].get("messaging.message.conversation_id") for each in spans}
    assert len(conversations - {None}) == 1
