"""A payload that came from the wire fits the schema of its event's name, or is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from fastapi_events.errors import InvalidPayload
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.worker.validation import validate
from fastapi_events.registry.payload_schema import registry


class Cooked(BaseModel):
    weight: int = 1


@pytest.fixture(autouse=True)
def schema() -> Iterator[None]:
    registry["fish-cooked"] = Cooked
    yield
    del registry["fish-cooked"]


@pytest.mark.parametrize("payload", [{"weight": 3}, {}, None])
def test_what_fits_passes(payload: object) -> None:
    validate(Event("fish-cooked", payload))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidPayload, match="weight"):
        validate(Event("fish-cooked", {"weight": "heavy"}))


def test_an_event_without_a_schema_may_carry_anything() -> None:
    validate(Event("fish-eaten", {"weight": "heavy"}))
