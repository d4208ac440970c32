"""One event as something to paste, which has to be what it says: it is run."""

from __future__ import annotations

import json
import shlex
import sys
from types import ModuleType

import pytest

from fastapi_events.console.copies import copies_of
from tests.handlers.task_queue.broker import ListHandler

NAME = "order's-placed"
PAYLOAD = '{"order_id": 17, "note": "it\'s $HOME `x`", "gone": null}'


def texts(payload: str | None = PAYLOAD, **envelope: object) -> list[str]:
    return [each.text for each in copies_of(NAME, payload, envelope)]


def test_the_command_has_its_name_and_payload_quoted() -> None:
    command, _, _ = texts()

    assert shlex.split(command) == ["fastapi-events", "emit", "APP", NAME, PAYLOAD]


def test_the_request_carries_a_cloud_event() -> None:
    _, curl, _ = texts(id="e-1", source="shop", traceparent="00-1", sensitive="card")

    *_, header, _, body = shlex.split(curl)
    assert header == "content-type: application/cloudevents+json"
    assert json.loads(body) == {
        "specversion": "1.0", "source": "shop", "type": NAME, "id": "e-1", "data": json.loads(PAYLOAD),
    }  # fmt: skip


def test_the_test_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    module = ModuleType("app.events")
    module.events = ListHandler()  # type: ignore[attr-defined]
    module.events.register(lambda event: seen.append(event.payload), event_name="order*", name="cook")
    monkeypatch.setitem(sys.modules, "app", ModuleType("app"))
    monkeypatch.setitem(sys.modules, "app.events", module)
    names: dict[str, object] = {}

    exec(texts()[2], names)
    names["test_order_s_placed"]()  # type: ignore[operator]

    assert seen == [json.loads(PAYLOAD)]


def test_there_is_nothing_to_copy_where_the_payload_is_not_known_whole() -> None:
    assert texts(None) == []
    assert texts('{"cut off') == []
