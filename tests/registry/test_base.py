"""Whoever needs a registry with rules of its own, derives one."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_events.event import EventName
from fastapi_events.registry.base import BaseEventPayloadSchemaRegistry


class Woke(BaseModel):
    __event_name__ = "cat-woke-up"


class OncePerName(BaseEventPayloadSchemaRegistry):
    """Refuses a second schema for an event."""

    def __setitem__(self, name: EventName, schema: Any) -> None:
        if name in self:
            raise ValueError(f"{name!r} has a schema")
        super().__setitem__(name, schema)


def test_a_derived_registry_may_refuse_what_register_adds() -> None:
    registry = OncePerName()
    registry.register(Woke)

    with pytest.raises(ValueError, match="'cat-woke-up' has a schema"):
        registry.register(Woke)


def test_what_is_merged_goes_the_same_way() -> None:
    registry = OncePerName({"cat-woke-up": Woke})

    with pytest.raises(ValueError, match="has a schema"):
        registry |= {"cat-woke-up": Woke}
    with pytest.raises(ValueError, match="has a schema"):
        registry.update({"cat-woke-up": Woke})


def test_two_registries_share_nothing() -> None:
    one, other = OncePerName(), OncePerName()
    one.register(Woke)

    assert list(other) == []
