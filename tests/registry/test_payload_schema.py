"""The registry of payload schemas."""

from __future__ import annotations

from enum import Enum

import pytest
from pydantic import BaseModel

from fastapi_events.errors import ConfigurationError, MissingEventNameDuringRegistration
from fastapi_events.registry.payload_schema import EventPayloadSchemaRegistry, registry


class Cat(Enum):
    WOKE = "cat-woke-up"
    NUMBER = 7


class Woke(BaseModel):
    __event_name__ = "cat-woke-up"


class Slept(BaseModel):
    __event_name__ = "cat-slept"


class Nameless(BaseModel):
    pass


@pytest.fixture
def schemas() -> EventPayloadSchemaRegistry:
    return EventPayloadSchemaRegistry()


def test_register_in_all_its_forms(schemas: EventPayloadSchemaRegistry) -> None:
    assert schemas.register(Woke) is Woke
    assert schemas.register()(Slept) is Slept
    assert schemas.register(event_name="other")(Woke) is Woke
    assert schemas.register(_schema=Nameless, event_name="nameless") is Nameless

    assert dict(schemas) == {"cat-woke-up": Woke, "cat-slept": Slept, "other": Woke, "nameless": Nameless}


def test_an_explicit_name_wins(schemas: EventPayloadSchemaRegistry) -> None:
    schemas.register(Woke, event_name="explicit")
    assert list(schemas) == ["explicit"]


def test_a_decorator_that_is_used_again_names_each_schema_by_itself(
    schemas: EventPayloadSchemaRegistry,
) -> None:
    decorator = schemas.register()
    decorator(Woke)
    decorator(Slept)

    assert dict(schemas) == {"cat-woke-up": Woke, "cat-slept": Slept}


def test_an_enum_member_and_its_string_value_are_one_key(schemas: EventPayloadSchemaRegistry) -> None:
    schemas.register(event_name=Cat.WOKE)(Woke)

    assert list(schemas) == ["cat-woke-up"]
    for name in (Cat.WOKE, "cat-woke-up"):
        assert name in schemas
        assert schemas[name] is Woke
        assert schemas.get(name) is Woke
        assert schemas.setdefault(name, Slept) is Woke
    assert schemas.pop(Cat.WOKE) is Woke
    assert len(schemas) == 0
    schemas["cat-woke-up"] = Slept
    del schemas[Cat.WOKE]
    assert schemas.get(Cat.WOKE) is None
    assert schemas.get(Cat.WOKE, Woke) is Woke


def test_merging_keeps_them_one_key(schemas: EventPayloadSchemaRegistry) -> None:
    schemas |= {Cat.WOKE: Woke}
    schemas.update({Cat.WOKE: Woke})

    assert list(schemas) == list(schemas | {Cat.WOKE: Slept}) == list({Cat.WOKE: Slept} | schemas)
    assert list(schemas) == ["cat-woke-up"]
    assert isinstance(schemas, EventPayloadSchemaRegistry)


def test_an_enum_member_with_another_value_stands_for_itself(schemas: EventPayloadSchemaRegistry) -> None:
    schemas.register(event_name=Cat.NUMBER)(Woke)

    assert schemas[Cat.NUMBER] is Woke
    assert "7" not in schemas


def test_a_schema_without_a_name_is_refused(schemas: EventPayloadSchemaRegistry) -> None:
    with pytest.raises(MissingEventNameDuringRegistration):
        schemas.register(Nameless)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"register\(event_name=5\): expected a string"):
        EventPayloadSchemaRegistry().register(event_name=5)(Nameless)  # type: ignore[call-overload]


@pytest.mark.parametrize("wrong", [int, dict, Woke()])
def test_what_is_no_model_is_refused(schemas: EventPayloadSchemaRegistry, wrong: object) -> None:
    with pytest.raises(AssertionError, match="BaseModel"):
        schemas.register(event_name="x")(wrong)  # type: ignore[type-var]
    with pytest.raises(AssertionError, match="BaseModel"):
        schemas.register(wrong, event_name="x")  # type: ignore[call-overload]


def test_an_unknown_name_is_a_key_error(schemas: EventPayloadSchemaRegistry) -> None:
    with pytest.raises(KeyError):
        schemas["unknown"]


def test_the_default_registry_is_one_of_these() -> None:
    assert isinstance(registry, EventPayloadSchemaRegistry)
