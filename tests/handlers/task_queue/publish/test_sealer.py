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

    sealer = Sealer("shop", {"receiptto": "list:events"}, lanes_of=None)
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


def test_events_in_lanes_say_whose_lanes_these_are() -> None:
    ordered = Event("a")
    ordered.ordering_key = "user-42"

    in_lane, free = map(json.loads, Sealer("shop", {}, lanes_of="list:events").seal([ordered, Event("b")]))
    [without_lanes] = map(json.loads, Sealer("shop", {}, lanes_of=None).seal([ordered]))

    assert in_lane["lane"] == "list:events"
    assert "lane" not in free
    assert "lane" not in without_lanes
