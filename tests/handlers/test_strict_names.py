"""`strict_names=True`, on a middleware and on a queue handler: nobody dispatches a name that nobody knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import celery
import pytest
from pydantic import BaseModel

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import InvalidSetting, StorageError, UnknownEventName
from fastapi_events.event import EventName
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.echo import EchoHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.registry.payload_schema import registry
from fastapi_events.scope import collect_events
from fastapi_events.storage.catalogue import Fields, Listing, Worker
from fastapi_events.storage.memory import MemoryCatalogue
from tests.asgi import call, responding


class Cat(Enum):
    FED = "cat-fed"


class OutOfReach(MemoryCatalogue):
    def _read(self, destination: str) -> tuple[Fields, float]:
        raise StorageError("the store is away")


def local(*patterns: str) -> LocalHandler:
    handler = LocalHandler()
    for pattern in patterns:
        handler.register(lambda event: None, event_name=pattern)
    return handler


@pytest.fixture
def queued() -> Iterator[Callable[..., CeleryHandler]]:
    """Queue handlers whose threads end with the test; others run `bill`, which listens to `bill-*`."""
    handlers: list[CeleryHandler] = []

    def make(catalogue: MemoryCatalogue | None = None, **settings: Any) -> CeleryHandler:
        app = celery.Celery(broker="memory://", set_as_current=False)
        catalogue = MemoryCatalogue() if catalogue is None else catalogue
        handlers.append(CeleryHandler(app, catalogue=catalogue, **settings))
        worker = Worker(id="w", host="there", pid=1, engine="celery", modules=("app.bills",))
        bill = Listing(name="bill", patterns=("bill-*",), queue="events", engine="celery", module="app.bills")
        catalogue.announce(handlers[-1].name, worker, [bill])
        return handlers[-1]

    yield make
    for each in handlers:
        each.fleet.leave()
        with each.app.connection() as connection:  # a broker in memory is one for the whole process
            connection.SimpleQueue("events").clear()


def request(*handlers: BaseEventHandler, name: EventName | str, **settings: Any) -> None:
    """A request that dispatches an event."""
    app = responding(then=lambda: dispatch(name))
    asyncio.run(call(EventHandlerASGIMiddleware(app, handlers, **{"strict_names": True, **settings})))


@pytest.mark.parametrize("name", ["cat-fed", Cat.FED])
def test_what_a_function_listens_to_is_dispatched(name: Any) -> None:
    request(EchoHandler(), local("dog*"), local("cat*"), name=name)


def test_an_unknown_name_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(UnknownEventName) as raised:
        request(local("cat-fed", "dog*"), name="cat-fedd")

    assert str(raised.value) == (
        "Nobody listens to 'cat-fedd' in the handlers of this middleware, and no schema is registered for "
        "it; did you mean 'cat-fed'?"
    )


def test_only_strict_middlewares_refuse_names() -> None:
    request(local("cat*"), name="dog-fed", strict_names=False)


@pytest.mark.parametrize("answer", ["yes", 1, None])
def test_strict_names_is_said_by_true_or_false(answer: Any) -> None:
    with pytest.raises(InvalidSetting, match="strict_names="):
        EventHandlerASGIMiddleware(responding(), [], strict_names=answer)


def test_a_handler_that_only_passes_events_on_knows_no_name() -> None:
    with pytest.raises(UnknownEventName):
        request(EchoHandler(), name="cat-fed")


def test_a_name_with_a_schema_is_known_to_middleware_and_handler(
    queued: Callable[..., CeleryHandler], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fed(BaseModel):
        __event_name__ = "cat-fed"

    monkeypatch.setitem(registry, "cat-fed", Fed)

    request(EchoHandler(), name="cat-fed")
    with collect_events([queued(strict_names=True)]):
        dispatch("cat-fed", {}, validate_payload=False)


def test_what_other_workers_listen_to_is_known(queued: Callable[..., CeleryHandler]) -> None:
    handler = queued()
    request(local("cat*"), handler, name="bill-paid")

    with pytest.raises(UnknownEventName, match=r"did you mean 'bill-.'"):
        request(local("cat*"), handler, name="bil-")


def test_a_dispatch_to_a_middleware_from_outside_of_a_request_is_checked() -> None:
    middleware = EventHandlerASGIMiddleware(
        responding(), [local("cat*")], middleware_id=4_711, strict_names=True
    )

    async def outside() -> None:
        dispatch("cat-fed", middleware_id=4_711)
        with pytest.raises(UnknownEventName):
            dispatch("dog-fed", middleware_id=4_711)

    asyncio.run(outside())
    middleware.deregister_handlers()


def test_handlers_that_are_given_later_are_asked_as_well() -> None:
    app = responding(then=lambda: dispatch("cat-fed"))
    middleware = EventHandlerASGIMiddleware(app, [], strict_names=True)

    with pytest.raises(UnknownEventName):
        asyncio.run(call(middleware))
    middleware.register_handlers([local("cat*")])

    asyncio.run(call(middleware))


def test_a_strict_queue_handler_refuses_what_no_worker_listens_to(
    queued: Callable[..., CeleryHandler],
) -> None:
    handler = queued(strict_names=True)
    handler.register(lambda event: None, name="feed", event_name="cat*")

    with collect_events([handler], flush_when=lambda scope: False):
        dispatch("cat-fed")
        dispatch("bill-paid")
        with pytest.raises(UnknownEventName, match="Nobody listens to 'dog-fed' in celery:events"):
            dispatch("dog-fed")


def test_where_nobody_can_be_asked_no_name_is_refused(queued: Callable[..., CeleryHandler]) -> None:
    handler = queued(OutOfReach(), strict_names=True)

    with collect_events([handler], flush_when=lambda scope: False):
        dispatch("dog-fed")


def test_every_handler_gets_the_events_that_a_strict_middleware_lets_through() -> None:
    got: list[str] = []
    handler = LocalHandler()
    handler.register(lambda event: got.append(event.name), event_name="cat*")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        dispatch("cat-fed")

    asyncio.run(call(EventHandlerASGIMiddleware(app, [handler], strict_names=True, raise_errors=True)))

    assert got == ["cat-fed"]
