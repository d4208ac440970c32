"""Settings of queue handlers: refused where they are written, and brought by a store."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from dramatiq.brokers.stub import StubBroker

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError, InvalidSetting
from fastapi_events.event import Event
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.task_queue import TaskQueueHandler, TaskQueueOptions, TaskQueueSettings
from fastapi_events.handlers.task_queue.settings import FROM_STORE, PARTS
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryInbox, MemoryStore
from tests.handlers.task_queue.broker import ListHandler

STORE = MemoryStore()

Make = Callable[..., TaskQueueHandler]


def on_dramatiq(**settings: Any) -> DramatiqHandler:
    return DramatiqHandler(StubBroker(middleware=[]), **settings)


def on_celery(**settings: Any) -> CeleryHandler:
    return CeleryHandler(Celery("shop", broker="memory://", set_as_current=False), **settings)


@pytest.fixture(params=[on_dramatiq, on_celery, ListHandler], ids=["dramatiq", "celery", "list"])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param  # type: ignore[no-any-return]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"outbx": STORE.outbox}, "unknown setting 'outbx'; did you mean 'outbox'?"),
    ({"colour": "red"}, "unknown setting 'colour'; there are catalogue, confirm, context_from, "),
    ({"durability": "respone"}, "'respone': expected 'flush' or 'response'; did you mean 'response'?"),
    ({"confirm": "handle"}, "confirm='handle': expected 'published' or 'handled'; did you mean 'handled'?"),
    ({"confirm": "handeld"}, "confirm='handeld': expected 'published' or 'handled'; did you mean 'handled'?"),
    ({"queue_type": "quorom"}, "'quorom': expected 'classic' or 'quorum'; did you mean 'quorum'?"),
    ({"flush_deadline": "1s"}, "flush_deadline='1s': expected a number of seconds or a timedelta"),
    ({"flush_deadline": -1}, "flush_deadline=-1: expected a number of seconds or a timedelta, above 0"),
    ({"flush_deadline": 0}, "flush_deadline=0: expected a number of seconds or a timedelta, above 0"),
    ({"shutdown_deadline": None}, "shutdown_deadline=None: expected a number of seconds or a timedelta"),
    ({"resend_after": timedelta(0)}, "resend_after=datetime.timedelta(0): expected a number of seconds"),
    ({"longest_delay": "900"}, "longest_delay='900': expected a number of seconds or a timedelta"),
    ({"routes": ["a"]}, "routes=['a']: expected a mapping of patterns to queues"),
    ({"routes": {"a": 3}}, "routes={'a': 3}: expected the name of a queue"),
    ({"routes": {3: "a"}}, "routes={3: 'a'}: expected a pattern of names"),
    ({"retry": 3}, "retry=3: expected a RetryPolicy, such as RetryPolicy(max_retries=3)"),
    ({"retry": None}, "retry=None: expected a RetryPolicy"),
    ({"unknown_retry": 3}, "unknown_retry=3: expected a RetryPolicy"),
    ({"queue": 5}, "queue=5: expected a text that is not empty"),
    ({"queue": ""}, "queue='': expected a text that is not empty"),
    ({"source": ""}, "source='': expected a text that is not empty"),
    ({"max_crashes": 0}, "max_crashes=0: expected a whole number, 1 or more"),
    ({"max_payload_bytes": 1e6}, "max_payload_bytes=1000000.0: expected a whole number"),
    ({"max_pending_events": -5}, "max_pending_events=-5: expected a whole number"),
    ({"relay": "no"}, "relay='no': expected True or False"),
    ({"inbox": 3}, "inbox=3: expected an Inbox, or None for none"),
    ({"outbox": STORE}, "that is a whole store; pass store=store or outbox=store.outbox"),
    ({"dead_letters": STORE}, "that is a whole store; pass store=store or dead_letters=store.dead_letters"),
    ({"inbox": STORE.lanes}, "that is what lanes= takes"),
    ({"store": STORE.outbox}, "that is one part of a store; pass it as outbox="),
    ({"store": MemoryStore}, "store=MemoryStore: expected a store, not its class"),
    ({"store": 3}, "store=3: expected a store, such as SqlStore(…)"),
    ({"headers_from": {"requestid": "7"}}, "headers_from={'requestid': '7'}: expected a function"),
    ({"context_from": "request"}, "context_from='request': expected a function"),
    (
        {"durability": "response"},
        ": durability='response' needs an outbox: pass store=… with one, or outbox=…",
    ),
    ({"confirm": "handled", "store": STORE, "outbox": None}, ": confirm='handled' needs an outbox"),
]


@pytest.mark.parametrize(
    ("settings", "says"), REFUSED, ids=[f"{next(iter(each))}-{n}" for n, (each, _) in enumerate(REFUSED)]
)
def test_what_cannot_be_is_refused_where_it_is_written(
    make: Make, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidSetting) as refused:
        make(**settings)
    assert says in str(refused.value)
    assert str(refused.value).startswith(("DramatiqHandler: ", "CeleryHandler: ", "ListHandler: "))


def test_an_engines_own_setting_is_guessed_too() -> None:
    with pytest.raises(InvalidSetting, match=r"unknown setting 'silent_aftr'; did you mean 'silent_after'\?"):
        on_celery(silent_aftr=3)
    with pytest.raises(InvalidSetting, match="unknown setting 'silent_after'"):
        on_dramatiq(silent_after=3)
    with pytest.raises(
        InvalidSetting, match="silent_after='1s': expected a number of seconds or a timedelta"
    ):
        on_celery(silent_after="1s")


def test_quorum_queues_are_refused_by_an_engine_that_has_none() -> None:
    with pytest.raises(InvalidSetting, match="queue_type='quorum' is for RabbitMQ"):
        ListHandler(queue_type="quorum")


def test_lengths_of_time_may_be_timedeltas(make: Make) -> None:
    handler = make(flush_deadline=timedelta(seconds=2), resend_after=timedelta(minutes=2))
    assert handler.settings.flush_deadline == 2.0
    assert handler.settings.resend_after == 120.0


def test_a_store_brings_the_parts_that_it_has(make: Make) -> None:
    store = MemoryStore()
    handler = make(store=store, relay=False, durability="response", confirm="handled")
    assert {part: getattr(handler.settings, part) for part in PARTS} == {
        part: getattr(store, part) for part in PARTS
    }

    half = SimpleNamespace(inbox=store.inbox, dead_letters=store.dead_letters)
    handler = make(queue="half", store=half)
    assert (handler.outbox, handler.inbox, handler.lanes) == (None, store.inbox, None)


def test_a_part_that_is_given_wins_and_none_turns_it_off(make: Make) -> None:
    store, inbox = MemoryStore(), MemoryInbox()
    handler = make(store=store, relay=False, inbox=inbox, dead_letters=None)
    assert (handler.outbox, handler.inbox, handler.dead_letters) == (store.outbox, inbox, None)


def test_without_a_store_there_are_no_parts(make: Make) -> None:
    handler = make()
    assert [getattr(handler.settings, part) for part in PARTS] == [None] * len(PARTS)
    assert [getattr(TaskQueueSettings(), part) for part in PARTS] == [None] * len(PARTS)


def test_editors_are_told_of_every_setting() -> None:
    assert list(TaskQueueOptions.__annotations__) == [each.name for each in fields(TaskQueueSettings)]


def test_every_setting_is_documented() -> None:
    text = inspect.getdoc(TaskQueueSettings) or ""
    for each in fields(TaskQueueSettings):
        assert f"\n    {each.name}: " in text


def test_the_parts_of_a_store_are_settings_whose_default_is_the_stores() -> None:
    assert {each.name for each in fields(TaskQueueSettings) if each.default is FROM_STORE} == set(PARTS)
    assert repr(FROM_STORE) == "that of the store"


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        TaskQueueSettings().queue = "other"  # type: ignore[misc]


def test_a_handler_is_called_by_engine_and_queue() -> None:
    assert [each.name for each in (on_dramatiq(queue="shop"), on_celery(), ListHandler(queue="a.b"))] == [
        "dramatiq:shop", "celery:events", "list:a.b",
    ]  # fmt: skip


def test_two_handlers_of_one_class_are_told_apart() -> None:
    broker = StubBroker(middleware=[])
    shop, mail = (
        DramatiqHandler(broker, queue="shop"),
        DramatiqHandler(broker, queue="mail", store=STORE, relay=False),
    )
    mail.register(lambda event: None, name="f")
    assert repr(shop) == "<DramatiqHandler dramatiq:shop, 0 subscriptions>"
    assert repr(mail) == (
        "<DramatiqHandler dramatiq:mail, 1 subscription, outbox, inbox, dead_letters, lanes, catalogue, "
        "journal>"
    )


def test_what_is_no_broker_or_app_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"expected a dramatiq\.Broker"):
        DramatiqHandler("redis://localhost")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"expected a celery\.Celery app"):
        CeleryHandler(StubBroker(middleware=[]))  # type: ignore[arg-type]


def test_policies_are_kept() -> None:
    policy = RetryPolicy(max_retries=1)
    assert ListHandler(retry=policy, unknown_retry=policy).settings.unknown_retry is policy


REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="none")


@contextmanager
def _of_the_request(event: Event) -> Iterator[None]:
    token = REQUEST_ID.set(event.headers.get("requestid", "none"))
    try:
        yield
    finally:
        REQUEST_ID.reset(token)


def test_context_travels_from_the_request_to_functions_and_to_what_they_dispatch() -> None:
    handler = ListHandler(
        headers_from=lambda: {"requestid": REQUEST_ID.get()}, context_from=_of_the_request, flush_deadline=30
    )
    seen: dict[str, str] = {}

    @handler.register(event_name="ordered", name="plain")
    def plain(event: Event) -> None:
        seen["plain"] = REQUEST_ID.get()
        dispatch("packed")

    @handler.register(event_name="ordered", name="on_the_loop")
    async def on_the_loop(event: Event) -> None:
        seen["on_the_loop"] = REQUEST_ID.get()

    @handler.register(event_name="packed", name="caused")
    def caused(event: Event) -> None:
        seen["caused"] = REQUEST_ID.get()

    token = REQUEST_ID.set("7")
    with collect_events([handler], raise_errors=True):
        dispatch("ordered")
    REQUEST_ID.reset(token)
    handler.run()

    assert seen == {"plain": "7", "on_the_loop": "7", "caused": "7"}
    assert REQUEST_ID.get() == "none"


def test_a_header_that_the_event_has_wins_over_those_of_the_hook() -> None:
    handler = ListHandler(headers_from=lambda: {"requestid": "hook"}, flush_deadline=30)
    seen: list[str] = []
    handler.register(lambda event: seen.append(event.headers["requestid"]), name="look")

    with collect_events([handler], raise_errors=True):
        dispatch("ordered", headers={"requestid": "said"})
    handler.run()

    assert seen == ["said"]
