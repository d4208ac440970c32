"""An event that is dispatched by hand, and what its sender is told."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from fastapi_events.emission import emit
from fastapi_events.errors import ConfigurationError
from fastapi_events.registry.payload_schema import registry
from tests.handlers.task_queue.broker import ListHandler


def test_it_is_with_the_broker_when_emit_returns() -> None:
    handler = ListHandler()
    event = emit([handler], "cat-woke", {"cat": 7}, headers={"tenantid": "shop"}, ordering_key=None)
    [message] = handler.sent
    [sealed] = json.loads(message.argument)
    assert (sealed["id"], sealed["type"], sealed["data"]) == (event.id, "cat-woke", {"cat": 7})
    assert sealed["tenantid"] == "shop"


def test_a_payload_that_does_not_fit_is_refused() -> None:
    class Cat(BaseModel):
        cat: int

    registry.register(Cat, event_name="emitted-cat")
    try:
        with pytest.raises(ConfigurationError, match="emitted-cat': cat: Input should be") as refused:
            emit([ListHandler()], "emitted-cat", {"cat": "secret"})
        assert "secret" not in str(refused.value)
    finally:
        del registry["emitted-cat"]
