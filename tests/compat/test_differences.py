"""What behaves differently from 0.12 on purpose, as docs/migration.md says, where no other test shows it."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from fastapi_events.context import handler_store
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.registry.payload_schema import EventPayloadSchemaRegistry, registry
from fastapi_events.scope import collect_events
from tests.asgi import call, responding
from tests.recording import Recorder


class Fish(BaseModel):
    __event_name__ = "fish-caught"

    weight: int


@dataclass
class Plain:
    weight: int


Plain.__event_name__ = "fish-caught"  # type: ignore[attr-defined]


class Job:
    __event_name__ = "fish-caught"


def test_functions_run_in_order_of_registration_whatever_their_patterns() -> None:
    handler, heard = LocalHandler(), []

    def noting(word: str) -> Callable[[Any], None]:
        return lambda event: heard.append(word)

    for number, pattern in enumerate(["fish-*", "*", "fish-*", "fish-caught"]):
        handler.register(noting(f"{number}"), event_name=pattern)
    asyncio.run(handler.handle(("fish-caught", None)))

    assert heard == ["0", "1", "2", "3"]


def test_an_empty_registry_is_the_one_that_was_asked_for() -> None:
    recorder = Recorder()
    registry.register(Fish)
    try:
        with collect_events([recorder]):
            dispatch("fish-caught", {"weight": "heavy"}, payload_schema_registry=EventPayloadSchemaRegistry())
    finally:
        del registry["fish-caught"]

    assert recorder.events == [("fish-caught", {"weight": "heavy"})]


def test_a_class_that_no_payload_can_be_made_of_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected a pydantic model, a dataclass or a TypedDict"):
        LocalHandler().register(Job)


def test_a_schema_is_a_pydantic_model_in_every_form_of_register() -> None:
    for register in (registry.register, registry.register(event_name="x")):
        with pytest.raises(AssertionError, match="must be a subclass of pydantic"):
            register(Plain)  # type: ignore[call-overload]


def test_overridden_blocks_of_the_middleware_have_no_effect() -> None:
    class Mine(EventHandlerASGIMiddleware):
        def event_store_ctx(self) -> Any:
            raise AssertionError

        res_req_cycle_ctx = event_store_ctx

    recorder = Recorder()
    asyncio.run(call(Mine(responding(then=lambda: dispatch("a")), [recorder])))
    assert recorder.names == ["a"]


def test_an_event_is_written_as_a_pair_and_given_as_one_to_who_takes_no_subclass() -> None:
    event = Event("fish-caught", {"weight": 3})

    assert json.loads(json.dumps(event)) == ["fish-caught", {"weight": 3}]
    with pytest.raises(yaml.representer.RepresenterError):
        yaml.safe_dump(event)
    assert yaml.safe_load(yaml.safe_dump(tuple(event))) == ["fish-caught", {"weight": 3}]


def test_any_object_with_a_name_is_a_payload() -> None:
    recorder, job = Recorder(), Job()
    with collect_events([recorder]):
        dispatch(Plain(3))
        dispatch(job)

    assert recorder.events == [("fish-caught", {"weight": 3}), ("fish-caught", job)]


def test_zero_is_an_id() -> None:
    recorder = Recorder()
    middleware = EventHandlerASGIMiddleware(responding(), [recorder], middleware_id=0)

    async def main() -> None:
        dispatch("a", middleware_id=0)
        while not recorder.names:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 10))
    middleware.deregister_handlers()
    assert 0 not in handler_store


def test_the_handlers_are_those_of_the_list_as_the_middleware_is_made() -> None:
    early, late = Recorder(), Recorder()
    handlers = [early]
    middleware = EventHandlerASGIMiddleware(responding(then=lambda: dispatch("a")), handlers)

    handlers.append(late)
    asyncio.run(call(middleware))
    assert (early.names, late.names) == (["a"], [])

    middleware.register_handlers(handlers)
    asyncio.run(call(middleware))
    assert late.names == ["a"]


@pytest.mark.parametrize("name", ["fastapi_events.utils", "fastapi_events.otel.utils"])
def test_modules_of_the_inside_are_gone(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)


STATED = [
    *(f"{Path(__file__).stem}.py::{name}" for name in [*globals()] if name.startswith("test_")),
    "test_plan.py::test_a_parameter_that_cannot_be_filled_is_refused_with_its_name",
    "test_plan.py::test_a_function_that_yields_is_refused_since_it_would_never_run",
    "test_plan.py::test_a_dependency_that_needs_a_request_is_refused_at_once",
    "test_payload_schema.py::test_an_enum_member_and_its_string_value_are_one_key",
    "test_errors.py::test_unasked_only_what_stands_above_exception_is_raised",
]
"""The tests that show what differs on purpose; the page on migration names each beside its sentence."""


@pytest.mark.parametrize("shown", STATED)
def test_a_difference_is_stated(shown: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()

    assert f"/{shown}" in page
