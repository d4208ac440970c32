"""A queue handler once more: the same settings, other stores, another engine."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from dramatiq.brokers.stub import StubBroker

from examples.custom_engine.engine import TableEngine
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.testing.twin import twin_of


def test_settings_are_those_of_the_original(tmp_path: Path) -> None:
    original = DramatiqHandler(
        StubBroker(), store=MemoryStore(), durability="response",
        queue="shop", routes={"mail.*": "mail"}, retry=RetryPolicy(max_retries=1), inbox=None,
        strict_names=True,
    )  # fmt: skip
    memory = MemoryStore()

    twin = twin_of(original, TableEngine(tmp_path / "table.db"), memory, strict_names=False)

    differing = {
        each.name
        for each in fields(twin.settings)
        if getattr(twin.settings, each.name) != getattr(original.settings, each.name)
    }
    in_memory = {"store", "outbox", "dead_letters", "lanes"}
    assert differing == {*in_memory, "catalogue", "journal", "relay", "strict_names"}
    assert (twin.outbox, twin.lanes, twin.inbox) == (memory.outbox, memory.lanes, None)
    assert twin.persists_before_response
    assert twin.queues == original.queues
