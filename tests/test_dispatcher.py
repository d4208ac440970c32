"""`dispatch()`: names, payloads, schemas, ids and causes."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from fastapi_events.context import handler_store
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import (
    ConfigurationError,
    MissingEventNameDuringDispatch,
    MultiplePayloadsDetectedDuringDispatch,
)
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.registry.payload_schema import EventPayloadSchemaRegistry
from fastapi_events.scope import collect_events
from tests.asgi import call, responding
from tests.recording import Diary, Recorder


class Fish(BaseModel):
    __event_name__ = "fish"

    size: int
    kind: str = "cod"


def dispatched(*args, **kwargs):
    recorder = Recorder()
    with collect_events([recorder]):
        dispatch(*args, **kwargs)
    [event] = recorder.events
    return event


def test_an_event_is_a_pair_that_remembers_more() -> None:
    event = dispatched("hello", {"n": 1})

    name, payload = event
    assert (name, payload) == ("hello", {"n": 1}) == event
    assert event.id
    assert event.dispatched_at.tzinfo is not None
    assert event.headers["correlationid"] == event.id


def test_a_model_names_itself_and_is_dumped() -> None:
    assert dispatched(Fish(size=3)) == ("fish", {"size": 3})


def test_the_dump_arguments_are_passed_on() -> None:
    assert dispatched(Fish(size=3), payload_schema_cls_dict_args={"exclude": {"size"}}) == (
        "fish",
        {"kind": "cod"},
    )


def test_a_model_can_be_handed_over_as_it_is() -> None:
    fish = Fish(size=3)
    assert dispatched(fish, payload_schema_dump=False).payload is fish


def test_an_explicit_name_wins_over_the_models_own() -> None:
    assert dispatched(Fish(size=3), event_name="bigger-fish").name == "bigger-fish"


def test_a_dataclass_does_as_well() -> None:
    @dataclasses.dataclass
    class Bone:
        __event_name__ = "bone"
        length: int

    assert dispatched(Bone(length=2)) == ("bone", {"length": 2})


@pytest.mark.parametrize("args", [(), (None,), ("",), (object(),)])
def test_an_event_without_a_name_is_refused(args: tuple[object, ...]) -> None:
    with pytest.raises(MissingEventNameDuringDispatch, match="no name"):
        dispatched(*args)


def test_what_has_no_name_is_called_by_its_type_alone() -> None:
    with pytest.raises(MissingEventNameDuringDispatch, match="'int' is no type of names, and defines no __e"):
        dispatched(5)


@dataclasses.dataclass
class Milk:
    __event_name__ = "milk"

    litres: int = 1


@pytest.mark.parametrize("kind", [Fish, Milk])
@pytest.mark.parametrize("named", [{}, {"event_name": "bought"}], ids=["own name", "other name"])
def test_a_class_is_refused_where_its_instance_belongs(kind: type, named: dict[str, str]) -> None:
    recorder = Recorder()

    refused = pytest.raises(ConfigurationError, match=rf"dispatch\({kind.__name__}\): that is a class")
    with collect_events([recorder]), refused:
        dispatch(kind, **named)

    assert not recorder.events


@pytest.mark.parametrize("name", [5, object(), b"hello", Fish], ids=["number", "object", "bytes", "class"])
def test_what_cannot_be_a_name_is_refused(name: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"dispatch\(event_name=.*expected a string or an Enum member"
    ):
        dispatch(event_name=name)


def test_two_payloads_are_refused() -> None:
    with pytest.raises(MultiplePayloadsDetectedDuringDispatch):
        dispatched(Fish(size=3), payload={"size": 4})
    with pytest.raises(ValueError, match="two payloads"):
        dispatched(Fish(size=3), payload={"size": 4})


def test_a_registered_schema_validates_and_completes_the_payload() -> None:
    schemas = EventPayloadSchemaRegistry()
    schemas.register(Fish)

    assert dispatched("fish", {"size": "3"}, payload_schema_registry=schemas) == ("fish", {"size": 3})
    with pytest.raises(ValidationError):
        dispatched("fish", {"size": "big"}, payload_schema_registry=schemas)
    with pytest.raises(ValidationError):
        dispatched("fish", payload_schema_registry=schemas)
    assert dispatched("fish", {"size": "big"}, validate_payload=False, payload_schema_registry=schemas)


class Kind(Enum):
    FISH = "fish"
    NUMBER = 7


def test_a_schema_may_dump_itself_in_its_own_way() -> None:
    schemas = EventPayloadSchemaRegistry()

    @schemas.register(event_name="fish")
    class Scaly(BaseModel):
        size: int

        def model_dump(self, **kwargs):
            return {"scales": self.size * 100, **kwargs}

    assert dispatched("fish", {"size": 2}, payload_schema_registry=schemas).payload == {
        "scales": 200,
        "exclude_unset": True,
    }


def test_a_schema_is_found_by_the_enum_member_or_its_value() -> None:
    schemas = EventPayloadSchemaRegistry()
    schemas.register(event_name=Kind.FISH)(Fish)

    assert dispatched("fish", {"size": 3}, payload_schema_registry=schemas).payload == {"size": 3}
    with pytest.raises(ValidationError):
        dispatched(Kind.FISH, {}, payload_schema_registry=schemas)


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_dispatching_can_be_switched_off_at_any_time(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    with collect_events([recorder]):
        dispatch("before")
        monkeypatch.setenv("FASTAPI_EVENTS_DISABLE_DISPATCH", value)
        dispatch("unheard")
        monkeypatch.setenv("FASTAPI_EVENTS_DISABLE_DISPATCH", "0")
        dispatch("after")

    assert recorder.names == ["before", "after"]


def test_outside_of_a_scope_the_plain_lookup_error_is_raised() -> None:
    with pytest.raises(LookupError) as raised:
        dispatch("hello")
    assert type(raised.value) is LookupError
    assert str(raised.value).startswith("<ContextVar name='fastapi_middleware_identifier' at")


def test_inside_of_a_scope_the_middleware_id_is_ignored() -> None:
    other = Recorder()
    handler_store[77] = [other]

    assert dispatched("hello", middleware_id=77) == ("hello", None)
    assert other.events == []
    del handler_store[77]


def test_outside_of_a_scope_the_middleware_id_says_who_handles_it() -> None:
    recorder = Recorder()
    handler_store[77] = [recorder]

    async def main():
        dispatch("hello", middleware_id=77)
        while not recorder.single:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 10))
    assert recorder.single == [("hello", None)]
    del handler_store[77]


def test_a_thread_without_a_loop_may_dispatch_by_id() -> None:
    heard = threading.Event()
    handler = LocalHandler()
    handler.register(lambda event: heard.set())
    handler_store[77] = [handler]

    dispatch("hello", middleware_id=77)

    assert heard.wait(10)
    del handler_store[77]


def test_an_unknown_middleware_id_is_reported_lost(diary: Diary) -> None:
    async def main():
        dispatch("hello", middleware_id=123456)

    asyncio.run(main())

    [(name, rest)] = diary.of("lost")
    assert name == "hello"
    assert "123456" in rest["reason"]


def test_a_chain_of_events_remembers_its_cause_and_its_beginning() -> None:
    async def main():
        handler, recorder = LocalHandler(), Recorder()
        done = asyncio.Event()

        @handler.register(event_name="one")
        def first(event):  # in a thread
            dispatch("two")

        @handler.register(event_name="two")
        async def second(event):
            dispatch("three")

        @handler.register(event_name="three")
        async def third(event):
            done.set()

        async with collect_events([handler, recorder]):
            dispatch("one")
        await done.wait()
        return recorder.events

    one, two, three = asyncio.run(asyncio.wait_for(main(), 10))
    assert (one.name, two.name, three.name) == ("one", "two", "three")
    assert two.headers["causationid"] == one.id
    assert three.headers["causationid"] == two.id
    assert {event.headers["correlationid"] for event in (one, two, three)} == {one.id}


def test_the_caller_may_begin_the_chain() -> None:
    assert dispatched("hello", headers={"correlationid": "order-7"}).headers["correlationid"] == "order-7"


@pytest.mark.parametrize("name", ["Upper", "with-dash", "id", "data", ""])
def test_a_header_that_cannot_travel_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="lower-case letters"):
        dispatched("hello", headers={name: "x"})


# Where nobody is in charge


def _in_a_thread() -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            dispatch("hello")
        except LookupError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    raise errors[0]


def _in_a_task_of_its_own() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_task(work())

    async def work() -> None:
        dispatch("hello")

    asyncio.run(main())


def _in_an_outer_middleware() -> None:
    inner = EventHandlerASGIMiddleware(responding(), [])

    async def outer(scope: object, receive: object, send: object) -> None:
        await inner(scope, receive, send)  # type: ignore[arg-type]
        dispatch("hello")

    asyncio.run(call(outer))


def _in_an_exception_handler() -> None:
    async def handle(request: object, error: Exception) -> object:
        dispatch("hello")

    async def fail(request: object) -> None:
        raise ValueError

    app = Starlette(routes=[Route("/", fail)], exception_handlers={Exception: handle})  # type: ignore[dict-item]
    app.add_middleware(EventHandlerASGIMiddleware, handlers=[])
    TestClient(app).get("/")


def _at_import() -> None:
    exec(compile("from fastapi_events.dispatcher import dispatch; dispatch('hello')", "app.py", "exec"), {})


@pytest.mark.parametrize(
    "where",
    [_in_a_thread, _in_a_task_of_its_own, _in_an_outer_middleware, _in_an_exception_handler, _at_import],
    ids=["thread", "task", "outer middleware", "exception handler", "import"],
)
def test_where_nobody_is_in_charge_the_error_names_three_ways_out(where: Callable[[], None]) -> None:
    with pytest.raises(LookupError) as raised:
        where()

    text = str(raised.value)
    assert type(raised.value) is LookupError
    assert text.startswith("<ContextVar name='fastapi_middleware_identifier' at")
    for way in (
        "EventHandlerASGIMiddleware be around this code",
        "middleware_id=1",
        "with collect_events([handler])",
    ):
        assert way in text
