"""Idioms of code and tests written for 0.12: patched globals, plain pairs, changed registries."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import os
from collections import deque
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, MagicMock, patch

import pytest

from fastapi_events import event_store
from fastapi_events.constants import FASTAPI_EVENTS_DISABLE_DISPATCH_ENV_VAR
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from tests.asgi import call, responding
from tests.recording import Recorder


def request(handlers: Any, then: Callable[[], Any]) -> None:
    asyncio.run(call(EventHandlerASGIMiddleware(responding(then=then), handlers)))


# Patched globals


@pytest.mark.parametrize("inside", [True, False])
def test_a_disabled_dispatch_reads_nothing(inside: bool) -> None:
    with (
        patch.dict(os.environ, {FASTAPI_EVENTS_DISABLE_DISPATCH_ENV_VAR: "1"}),
        patch("fastapi_events.dispatcher.event_store") as store,
        patch("fastapi_events.dispatcher.in_req_res_cycle") as cycle,
        patch("fastapi_events.dispatcher._list_handlers") as handlers,
    ):
        cycle.get.return_value = inside
        dispatch("hello", {"n": 1})

    store.get.assert_not_called()
    handlers.assert_not_called()


def test_outside_of_a_scope_the_store_is_not_touched_and_the_patched_handlers_handle() -> None:
    handler = MagicMock(spec=BaseEventHandler, handle=AsyncMock())

    async def main() -> None:
        with (
            patch("fastapi_events.dispatcher.event_store") as store,
            patch("fastapi_events.dispatcher._list_handlers", return_value=[handler]),
        ):
            dispatch("hello", {"n": 1})
            while not handler.handle.await_count:
                await asyncio.sleep(0)
        store.get.assert_not_called()

    asyncio.run(asyncio.wait_for(main(), 10))
    handler.handle.assert_awaited_once_with(("hello", {"n": 1}))


# Plain pairs


@pytest.mark.parametrize(
    "put",
    [
        lambda store: store.append(("hello", {"a": 1})),
        lambda store: store.appendleft(("hello", {"a": 1})),
        lambda store: store.extend([("hello", {"a": 1})]),
        lambda store: store.extendleft([("hello", {"a": 1})]),
        lambda store: store.insert(0, ("hello", {"a": 1})),
        lambda store: store.__iadd__([("hello", {"a": 1})]),
        lambda store: store.append(["hello", {"a": 1}]),
    ],
    ids=["append", "appendleft", "extend", "extendleft", "insert", "iadd", "list"],
)
def test_a_plain_pair_is_taken_as_an_event(put: Callable[[Any], Any]) -> None:
    recorder, local, heard = Recorder(), LocalHandler(), []
    local.register(lambda event: heard.append((event.id, event)))

    request([recorder, local], lambda: put(event_store.get()))

    [event] = recorder.events
    assert event == ("hello", {"a": 1})
    assert heard == [(event.id, event)]


def test_pairs_come_in_where_they_are_put() -> None:
    recorder = Recorder()

    def then() -> None:
        store: Any = event_store.get()
        dispatch("b")
        store.appendleft(("a", None))
        store.append(("e", None))
        store.insert(2, ("c", None))
        store.insert(-1, ("d", None))
        store.extendleft([("0", None), ("-", None)])

    request([recorder], then)
    assert recorder.names == ["-", "0", "a", "b", "c", "d", "e"]


# Handlers


def test_a_handler_may_take_events_out() -> None:
    taken: list[Any] = []

    class Taking(BaseEventHandler):
        async def handle_many(self, events: Any) -> None:
            while events:
                taken.append(events.popleft())

        async def handle(self, event: Any) -> None: ...

    recorder = Recorder()
    request([Taking(), recorder, Taking()], lambda: [dispatch("a"), dispatch("b")])
    assert [each[0] for each in taken] == ["a", "b"] * 2
    assert recorder.names == ["a", "b"]


def test_a_bare_mock_is_a_handler() -> None:
    handler = AsyncMock()
    request([handler], lambda: dispatch("hello"))
    [given] = handler.handle_many.await_args_list
    assert list(given.kwargs["events"]) == [("hello", None)]


def test_a_subclass_may_have_a_name_and_methods_of_its_own() -> None:
    @dataclasses.dataclass
    class Named(BaseEventHandler):
        name: str
        url: str
        seen: list[Any] = dataclasses.field(default_factory=list)

        def startup(self) -> str:
            return "mine"

        def shutdown(self) -> None: ...

        def prepare(self, x: int, y: int) -> int:
            return x + y

        async def handle(self, event: Any) -> None:
            self.seen.append(event)

    class Assigned(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.name = "mine"

    handler, assigned = Named("webhook", "http://…"), Assigned()
    request([handler, assigned], lambda: dispatch("hello"))

    assert handler.seen == [("hello", None)]
    assert (handler.name, assigned.name, Recorder().name) == ("webhook", "mine", "Recorder")


def test_a_clash_with_a_hook_is_found_when_the_middleware_is_made() -> None:
    class Sync(Recorder):
        def on_startup(self) -> None: ...  # type: ignore[override]

    class Dispatching(Recorder):
        def on_dispatch(self, x: int, y: int) -> None: ...  # type: ignore[override]

    class Asynchronous(Recorder):
        async def on_dispatch(self, event: Any) -> None: ...  # type: ignore[override]

    class Flagged(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.on_shutdown = True  # type: ignore[assignment]

    for kind, hook in (
        (Sync, "on_startup"),
        (Dispatching, "on_dispatch"),
        (Asynchronous, "on_dispatch"),
        (Flagged, "on_shutdown"),
    ):
        with pytest.raises(ConfigurationError, match=rf"{kind.__name__}\.{hook} is no"):
            EventHandlerASGIMiddleware(responding(), [kind()])


# The registry


def heard_by(handler: LocalHandler, name: str = "x") -> list[str]:
    heard: list[str] = []
    asyncio.run(handler.handle((name, heard)))
    return heard


def noting(word: str) -> Callable[[Any], None]:
    def function(event: Any) -> None:
        event[1].append(word)

    return function


first, second, third = noting("first"), noting("second"), noting("third")


@pytest.fixture
def handler() -> LocalHandler:
    handler = LocalHandler()
    handler.register(first, event_name="x")
    handler.register(second, event_name="y")
    return handler


def test_the_registry_is_a_dict_of_lists(handler: LocalHandler) -> None:
    assert isinstance(handler._registry, dict)
    assert handler._registry == {"x": [first], "y": [second]}
    assert isinstance(handler._registry["x"], list)
    with pytest.raises(KeyError):
        handler._registry["z"]


@pytest.mark.parametrize(
    ("change", "then"),
    [
        (lambda it: it["x"].append(third), ["first", "third"]),
        (lambda it: it["x"].insert(0, third), ["first", "third"]),
        (lambda it: it["x"].extend([third, third]), ["first", "third", "third"]),
        (lambda it: it["x"].remove(first), []),
        (lambda it: it["x"].pop(), []),
        (lambda it: it["x"].clear(), []),
        (lambda it: it["x"].__setitem__(0, third), ["third"]),
        (lambda it: it["x"].__delitem__(0), []),
        (lambda it: it["x"].__iadd__([third]), ["first", "third"]),
        (lambda it: it.pop("x"), []),
        (lambda it: it.pop("x", None), []),
        (lambda it: it.popitem(), ["first"]),
        (lambda it: it.clear(), []),
        (lambda it: it.update({"x": [third]}), ["third"]),
        (lambda it: it.update(x=[third]), ["third"]),
        (lambda it: it.setdefault("x", []).append(third), ["first", "third"]),
        (lambda it: it.setdefault("x*", []).append(third), ["first", "third"]),
        (lambda it: it.__setitem__("x", [third]), ["third"]),
        (lambda it: it.__delitem__("x"), []),
        (lambda it: it.__ior__({"*": [third]}), ["first", "third"]),
    ],
)  # fmt: skip
def test_what_is_changed_in_it_is_changed(
    handler: LocalHandler, change: Callable[[Any], Any], then: list[str]
) -> None:
    change(handler._registry)
    assert heard_by(handler) == then


def test_a_copy_restores_it(handler: LocalHandler) -> None:
    saved = handler._registry.copy()
    handler._registry.clear()
    assert heard_by(handler) == []

    handler._registry.update(saved)
    assert heard_by(handler) == ["first"]

    handler._registry = saved
    assert heard_by(handler) == ["first"]
    handler.register(third, event_name="x")
    assert heard_by(handler) == ["first", "third"]


def test_a_deep_copy_is_independent(handler: LocalHandler) -> None:
    saved = copy.deepcopy(handler._registry)
    handler._registry["x"].append(third)
    assert saved == {"x": [first], "y": [second]}

    other = copy.deepcopy(handler)
    other.register(second, event_name="x")
    assert heard_by(other) == ["first", "third", "second"]
    assert heard_by(handler) == ["first", "third"]


def test_it_is_patched_for_a_while(handler: LocalHandler) -> None:
    with patch.object(handler, "_registry", {"x": [third]}):
        assert heard_by(handler) == ["third"]
        handler.register(second, event_name="x")
        assert heard_by(handler) == ["third", "second"]
    assert heard_by(handler) == ["first"]

    with patch.dict(handler._registry, {"x": [third]}, clear=True):
        assert heard_by(handler) == ["third"]
    assert heard_by(handler) == ["first"]
    assert heard_by(handler, "y") == ["second"]


def test_methods_of_the_handler_may_be_overridden() -> None:
    class Mine(LocalHandler):
        def __init__(self) -> None:
            super().__init__()
            self.registered: list[str] = []

        def _register_handler(self, event_name: str, func: Any) -> None:
            self.registered.append(event_name)
            super()._register_handler(event_name, func)

        def _get_handlers_for_event(self, event_name: Any) -> list[Any]:
            return [*super()._get_handlers_for_event(event_name), third]

    mine = Mine()
    mine.register(first, event_name="x")
    assert mine.registered == ["x"]
    assert heard_by(mine) == ["first", "third"]
    with patch.object(mine, "_get_handlers_for_event", return_value=[second]):
        assert heard_by(mine) == ["second"]


def test_what_the_events_are_handed_over_in_is_a_deque() -> None:
    kinds: list[type] = []

    class Looking(BaseEventHandler):
        async def handle_many(self, events: Any) -> None:
            kinds.append(type(events))

        async def handle(self, event: Any) -> None: ...

    request([Looking()], lambda: dispatch("a"))
    assert kinds == [deque]
