"""The wire as a contract: what earlier versions of a model have written can be read, or a test fails."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import pytest
from pydantic import AliasChoices, BaseModel, Field, create_model

from fastapi_events.errors import ConfigurationError
from fastapi_events.testing import check_wire

pytest_plugins = ["pytester"]


def model(kind: str = "Order", /, **fields: Any) -> type[BaseModel]:
    made: type[BaseModel] = create_model(kind, **fields)
    made.__event_name__ = "order-placed"  # type: ignore[attr-defined]
    return made


BEFORE = model(number=(int, ...), note=(str, "none"))


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    check_wire(BEFORE, folder=tmp_path)
    return tmp_path


def kept(folder: Path) -> Any:
    return json.loads((folder / "order-placed.json").read_text())


def test_the_first_time_a_file_is_written_with_what_travels(folder: Path) -> None:
    assert kept(folder)["event"] == "order-placed"
    assert kept(folder)["examples"] == [{"number": 1, "note": "text"}, {"number": 1, "note": "none"}]
    check_wire(BEFORE, folder=folder)


@pytest.mark.parametrize(
    "after",
    [
        model(number=(int, ...), note=(str, "none"), table=(int, 1)),
        model(number=(int | str, ...), note=(str | None, None)),
        model(number=(int, ...)),
        model(nr=(int, Field(validation_alias=AliasChoices("nr", "number"))), note=(str, "none")),
    ],
    ids=["new-default", "wider", "removed", "renamed-with-alias"],
)
def test_a_change_that_breaks_nothing_is_added(folder: Path, after: type[BaseModel]) -> None:
    check_wire(after, folder=folder)
    assert kept(folder)["examples"][:2] == [{"number": 1, "note": "text"}, {"number": 1, "note": "none"}]
    assert kept(folder)["schema"] == after.model_json_schema(by_alias=False)
    check_wire(after, folder=folder)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (model(number=(int, ...), note=(str, ...), table=(int, ...)), "table: Field required"),
        (model(number=(int, ...), note=(int, 0)), "note: Input should be a valid integer"),
        (model(number=(int, ...), note=(Literal["none"], "none")), "Input should be 'none'"),
        (model(number=(int, ...), remark=(str, "none")), "lose note: Order does not read it, and has remark"),
    ],
    ids=["required", "type", "value", "renamed"],
)
def test_a_change_that_breaks_what_waits_fails(folder: Path, after: type[BaseModel], said: str) -> None:
    before = kept(folder)
    with pytest.raises(AssertionError, match=said) as failing:
        check_wire(after, folder=folder)
    assert '{"number": 1, "note": "text"}' in str(failing.value)
    assert "AliasChoices" in str(failing.value)
    assert kept(folder) == before


def test_a_value_that_an_enumeration_loses_is_found(tmp_path: Path) -> None:
    check_wire(model(size=(Literal["small", "large"], ...)), folder=tmp_path)
    with pytest.raises(AssertionError, match="Input should be 'small'"):
        check_wire(model(size=(Literal["small"], ...)), folder=tmp_path)


def test_a_field_that_is_renamed_inside_is_found(tmp_path: Path) -> None:
    before, after = model("Line", item=(str, "fish")), model("Line", name=(str, "fish"))
    check_wire(model(line=(before, ...)), folder=tmp_path)
    with pytest.raises(AssertionError, match=r"lose line\.item: .* has line\.name"):
        check_wire(model(line=(after, ...)), folder=tmp_path)


def test_what_is_made_anew_each_time_makes_no_new_example(tmp_path: Path) -> None:
    random = model(id=(UUID, Field(default_factory=uuid4)), at=(datetime, ...))
    check_wire(random, folder=tmp_path)
    before = kept(tmp_path)
    check_wire(random, folder=tmp_path)
    assert kept(tmp_path) == before


def test_in_ci_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(AssertionError, match="lacks what Order is now"):
        check_wire(BEFORE, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_where_no_example_can_be_made_an_instance_is_one(tmp_path: Path) -> None:
    coded = model(code=(str, Field(pattern="^[A-Z]{3}$")))
    with pytest.raises(ConfigurationError, match=r"check_wire\(Order\(…\)\)"):
        check_wire(coded, folder=tmp_path)
    check_wire(coded(code="ABC"), folder=tmp_path)
    check_wire(coded(code="DEF"), folder=tmp_path)
    assert kept(tmp_path)["examples"] == [{"code": "ABC"}, {"code": "DEF"}]
    changed = model(code=(str, Field(pattern="^[A-Z]{2}$")))
    with pytest.raises(AssertionError, match="code: String should match pattern"):
        check_wire(changed(code="AB"), folder=tmp_path)


def test_the_files_are_beside_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from pydantic import BaseModel
        from fastapi_events.testing import check_wire

        class Order(BaseModel):
            __event_name__ = "order/placed"
            number: int

        def test_wire():
            check_wire(Order)
        """
    )
    pytester.runpytest_inprocess("-p", "no:asyncio").assert_outcomes(passed=1)
    assert (pytester.path / "wire" / "order_placed.json").exists()


def test_a_class_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="names no event"):
        check_wire(create_model("Nameless", number=(int, ...)), folder=tmp_path)


def test_nothing_to_check_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="nothing to check"):
        check_wire()
