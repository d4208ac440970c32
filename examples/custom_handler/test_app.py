import json
from pathlib import Path

import pytest
from app.audit import AuditHandler
from app.web import app
from fastapi.testclient import TestClient

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.scope import collect_events
from fastapi_events.testing.contracts import HandlerContract


class TestAuditHandler(HandlerContract):
    """What every handler has to do."""

    @pytest.fixture
    def handler(self, tmp_path: Path) -> BaseEventHandler:
        return AuditHandler(tmp_path / "audit.jsonl")


def test_an_event_is_a_line(tmp_path: Path) -> None:
    with collect_events([AuditHandler(tmp_path / "audit.jsonl")]):
        dispatch("order-placed", {"number": 7})
        dispatch("order-paid", {"number": 7})
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["type"], line["data"]) for line in lines] == [
        ("order-placed", {"number": 7}),
        ("order-paid", {"number": 7}),
    ]


def test_a_function_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TimeoutError):  # the pytest plugin shows what handlers raise, once all have run
        TestClient(app).post("/orders/7")
    assert json.loads(Path("audit.jsonl").read_text())["type"] == "order-placed"
