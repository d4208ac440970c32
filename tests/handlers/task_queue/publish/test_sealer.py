"""Sealer: what stands in the envelopes of a handler's events."""

from __future__ import annotations

import json

from pydantic import BaseModel

from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.publish.sealer import Sealer
from fastapi_events.registry.payload_schema import registry


def test_envelopes_name_their_source_their_schema_and_what_every_event_of_the_handler_has() -> None:
    class Cat(BaseModel):
        name: str

    sealer = Sealer("shop", {"receiptto": "list:events"})
    registry.register(Cat, "cat")
    try:
        known, unknown = map(json.loads, sealer.seal([Event("cat"), Event("dog")]))
    finally:
        del registry["cat"]

    assert known["dataschema"].startswith("urn:fastapi-events:")
    assert known["dataschema"].endswith("Cat")
    assert "dataschema" not in unknown
    assert [known["receiptto"], unknown["receiptto"]] == ["list:events"] * 2
    assert [known["source"], unknown["source"]] == ["shop"] * 2
