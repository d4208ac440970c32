"""The names by which fields are read; an older pydantic is imitated where a newer one is installed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field

from fastapi_events.errors import ConfigurationError
from fastapi_events.model_dumps import BY_EITHER_NAME
from fastapi_events.subscriptions import field_names, payload, restorer
from fastapi_events.subscriptions.field_names import have_crossed
from fastapi_events.subscriptions.payload import PayloadType, payload_type


class Cat(BaseModel):
    cat_id: int = Field(alias="catId")
    mood: str = Field("calm", validation_alias=AliasChoices(AliasPath("deep", 0), "MOOD", "Mood"))
    name: str = "Tom"


class Litter(BaseModel):
    cats: dict[str, list[Cat]] = Field(alias="allCats")


class Open(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    cat_id: int = Field(alias="catId")


class Deep(BaseModel):
    cat_id: int = Field(1, validation_alias=AliasPath("cat", "id"))


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> None:
    """pydantic before 2.11, which knows no `by_name`."""
    for module in (field_names, payload, restorer):
        monkeypatch.setattr(module, "BY_EITHER_NAME", {})


def names(kind: type[BaseModel]) -> dict[str, str]:
    return field_names.read_as(kind, kind.model_fields)


def test_aliases_are_other_names_and_no_paths() -> None:
    fields = {name: [*field_names.aliases(field)] for name, field in Cat.model_fields.items()}

    assert [*dict.fromkeys(fields["cat_id"])] == ["catId"]
    assert fields["mood"] == ["MOOD", "Mood"]
    assert fields["name"] == []


def test_a_field_is_read_by_its_name_where_pydantic_can() -> None:
    assert names(Cat) == ({} if BY_EITHER_NAME else {"cat_id": "catId", "mood": "MOOD"})
    assert names(Open) == {}


@pytest.mark.usefixtures("older")
def test_an_older_pydantic_gets_the_alias() -> None:
    assert names(Cat) == {"cat_id": "catId", "mood": "MOOD"}
    assert names(Open) == {}


@pytest.mark.usefixtures("older")
@pytest.mark.parametrize("by_alias", [False, True])
def test_with_it_a_model_is_rebuilt_from_names_and_from_aliases(by_alias: bool) -> None:
    cat: dict[str, Any] = {"catId": 1, "MOOD": "wild"} if by_alias else {"cat_id": 1, "mood": "wild"}
    litter = {("allCats" if by_alias else "cats"): {"first": [cat]}}

    rebuilt = PayloadType(Litter).from_json(litter)

    [found] = rebuilt.cats["first"]
    assert (found.cat_id, found.mood, found.name) == (1, "wild", "Tom")


@pytest.mark.usefixtures("older")
def test_with_it_a_field_that_is_read_by_a_path_only_is_refused_at_registration() -> None:
    with pytest.raises(ConfigurationError, match=r"Deep\.cat_id travels by its name.*populate_by_name"):
        payload_type(Deep, asking="feed", travels=True)

    payload_type(Deep, asking="feed", travels=False)


@pytest.mark.skipif(not BY_EITHER_NAME, reason="needs pydantic 2.11")
def test_a_newer_pydantic_reads_such_a_field_by_its_name() -> None:
    assert payload_type(Deep, asking="feed", travels=True).from_json({"cat_id": 7}) == Deep.model_construct(
        cat_id=7
    )


class Crossed(BaseModel):
    kind: int = Field(alias="type")
    type: int


def test_a_field_whose_alias_is_the_name_of_another_is_read_by_names_alone() -> None:
    assert have_crossed(Crossed.model_fields)
    assert not have_crossed(Cat.model_fields)


@pytest.mark.skipif(not BY_EITHER_NAME, reason="needs pydantic 2.11")
def test_its_value_is_not_mistaken_for_the_others() -> None:
    rebuilt = PayloadType(list[Crossed]).from_json([{"kind": 1, "type": 2}])
    assert [(each.kind, each.type) for each in rebuilt] == [(1, 2)]


@pytest.mark.usefixtures("older")
def test_an_older_pydantic_cannot_tell_them_apart_and_such_a_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Crossed has a field whose alias is another field's name"):
        payload_type(Crossed, asking="feed", travels=True)
