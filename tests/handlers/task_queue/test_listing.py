"""What the catalogue says of a subscription."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.listing import listing_of
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.catalogue import Listing
from tests.handlers.task_queue.broker import ListHandler


class Fish(BaseModel):
    kind: str


def listing(handler: ListHandler) -> Listing:
    (subscription,) = handler.subscriptions
    return listing_of(subscription, engine="list", version="1.2")


def test_it_tells_all_that_other_processes_need_and_that_people_ask_for() -> None:
    handler = ListHandler()

    @handler.register(
        event_name="cat*", name="feed", queue="kitchen",
        retry=RetryPolicy(max_retries=3, min_backoff=timedelta(seconds=2), max_backoff=60),
    )  # fmt: skip
    def feed(payload: Fish) -> None: ...

    found = listing(handler)

    assert (found.name, found.patterns, found.queue, found.engine) == ("feed", ("cat*",), "kitchen", "list")
    assert found.retry == {"max_retries": 3, "min_backoff": 2.0, "max_backoff": 60}
    assert (found.payload, found.version, found.batch_size, found.once) == ("Fish", "1.2", None, False)
    assert found.payload_schema is not None
    assert found.payload_schema["required"] == ["kind"]


def test_a_function_without_a_payload_has_no_schema() -> None:
    handler = ListHandler()

    @handler.register(event_name="cat*", batch=10)
    def feed(events: list[Event]) -> None: ...

    found = listing(handler)

    assert (found.payload, found.payload_schema, found.batch_size) == (None, None, 10)


@pytest.fixture
def imported() -> Iterator[Callable[..., types.ModuleType]]:
    """Import a module of this text, with these names in it."""
    made = []

    def make(name: str, text: str, **names: Any) -> types.ModuleType:
        module = types.ModuleType(name)
        vars(module).update(names)
        sys.modules[name] = module
        made.append(name)
        exec(compile(text, name, "exec"), vars(module))
        return module

    yield make
    for each in made:
        sys.modules.pop(each, None)


def hear(event: Event) -> None: ...


def register_for(handler: ListHandler, name: str) -> None:
    handler.register(hear, event_name="cat*", name=name)


@pytest.mark.parametrize(
    "text",
    [
        "@events.register(event_name='cat*', name='feed')\ndef feed(event): ...",
        "events.register(hear, event_name='cat*', name='feed')",
        "events.register(event_name='cat*', name='feed')(functools.partial(hear))",
        "events.register(event_name='cat*', name='feed')([].append)",
        "register_for(events, 'feed')",
    ],
    ids=["its own function", "that of another module", "a partial", "a built-in", "a helper's"],
)
def test_a_function_belongs_to_the_module_whose_import_registers_it(
    imported: Callable[..., types.ModuleType], text: str
) -> None:
    handler = ListHandler()

    imported("app_mail", text, events=handler, hear=hear, functools=functools, register_for=register_for)

    assert listing(handler).module == "app_mail"


def test_a_built_in_that_no_import_registers_has_a_module_too() -> None:
    handler = ListHandler()

    handler.register([].append, event_name="cat*")

    assert listing(handler).module
