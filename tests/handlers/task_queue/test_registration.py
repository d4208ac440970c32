"""Registering: what becomes of a function and its options, and what is refused on the line that names it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_events.errors import ConfigurationError, InvalidSetting, MissingEventNameDuringRegistration
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.options import EngineOptions
from fastapi_events.handlers.task_queue.registration import Registering
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.memory import MemoryInbox
from fastapi_events.subscriptions.subscription import Subscription
from tests.handlers.task_queue.broker import ListEngine, ListHandler

POLICY = RetryPolicy(max_retries=2)


class Milliseconds(ListEngine):
    """An engine that counts in milliseconds, knows two options, and cannot grant a third."""

    options = EngineOptions(
        documented="the engine's tasks",
        others={"time_limit", "priority"},
        refused={"max_retries": "is what retry= is for"},
        unit=timedelta(milliseconds=1),
    )


class Engine(Registering):
    """Somewhere to register."""

    def __init__(self, routes: Mapping[str, str] | None = None) -> None:
        super().__init__(Milliseconds(), Routes("events", routes), POLICY)
        self.inbox = MemoryInbox()
        self.declared: list[Subscription] = []
        self.refusing: Exception | None = None

    async def handle(self, event: Event) -> None:
        raise AssertionError("nothing is dispatched here")

    def _declare(self, subscription: Subscription) -> None:
        if self.refusing is not None:
            raise self.refusing
        self.declared.append(subscription)


@pytest.fixture
def engine() -> Engine:
    return Engine()


def feed(event: Event) -> None: ...


def wash(event: Event) -> None: ...


class Cat(BaseModel):
    __event_name__ = "cat"


class Dog(BaseModel):
    __event_name__ = "dog"


def only(engine: Engine) -> Subscription:
    [subscription] = engine.subscriptions
    return subscription


# What becomes of a function


def test_a_function_is_a_subscription_to_everything_with_the_handlers_defaults(engine: Engine) -> None:
    assert engine.register(feed) is feed

    it = only(engine)
    assert (it.name, it.patterns, it.function) == (f"{__name__}.feed", ("*",), feed)
    assert (it.queue, it.retry, it.once, it.batch, dict(it.options)) == ("events", POLICY, False, None, {})
    assert engine.declared == [it]


def test_each_option_of_its_own_counts(engine: Engine) -> None:
    policy = RetryPolicy(max_retries=0)

    @engine.register(event_name="cat*", name="hungry", queue="kitchen", retry=policy, once=True, priority=3)
    def work(event: Event) -> None: ...

    it = only(engine)
    assert (it.name, it.patterns, it.queue, it.retry, it.once) == (
        "hungry",
        ("cat*",),
        "kitchen",
        policy,
        True,
    )
    assert it.options == {"priority": 3}


@pytest.mark.parametrize("form", ["bare", "with a name", "with a model"])
def test_a_decorator_gives_back_what_it_got_in_all_its_forms(engine: Engine, form: str) -> None:
    decorate: Any = {
        "bare": engine.register,
        "with a name": engine.register(event_name="cat"),
        "with a model": engine.register(Cat),
    }[form]

    assert decorate(feed) is feed

    assert only(engine).pattern == ("*" if form == "bare" else "cat")


def test_an_enum_member_is_heard_by_each_of_its_spellings(engine: Engine) -> None:
    class Animal(Enum):
        CAT = "cat"

    engine.register(feed, event_name=Animal.CAT)

    assert engine.subscriptions.match("cat") == (only(engine),)
    assert engine.subscriptions.match("Animal.CAT") == (only(engine),)


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        (timedelta(seconds=1.5), 1_500),
        (timedelta(microseconds=500), 0.5),
        (7, 7),
        (None, None),
        ("10/m", "10/m"),
    ],
)
def test_a_stretch_of_time_is_passed_on_in_the_units_of_the_engine(
    engine: Engine, given: Any, passed_on: Any
) -> None:
    engine.register(feed, time_limit=given)

    option = only(engine).options["time_limit"]
    assert (option, type(option)) == (passed_on, type(passed_on))


@pytest.mark.parametrize("window", [0.5, timedelta(seconds=1), "1s"])
def test_a_window_without_a_batch_is_refused(window: Any) -> None:
    with pytest.raises(InvalidSetting, match="says how long a batch waits for more events: pass its size"):
        ListHandler().register(lambda events: None, name="f", batch_window=window)


def test_many_at_once(engine: Engine) -> None:
    @engine.register(Cat, batch=10, batch_window=timedelta(seconds=1))
    async def insert(cats: list[Any]) -> None: ...

    it = only(engine)
    assert it.batch is not None
    assert (it.batch.size, it.batch.window, it.batch.is_async, it.plan.is_async) == (10, 1.0, True, True)
    assert it.batch.payload_type is not None
    assert it.batch.payload_type.annotation is Cat


def test_a_worker_consumes_the_queues_of_the_handler_its_routes_and_its_functions_each_once() -> None:
    engine = Engine({"billing.*": "billing"})
    engine.register(feed, queue="kitchen")
    engine.register(wash, queue="billing")

    assert engine.queues == ("events", "billing", "kitchen")


# Registered again


def test_a_function_that_is_registered_again_listens_to_more(engine: Engine) -> None:
    engine.register(feed, event_name="cat")
    engine.register(feed, event_name="dog")
    engine.register(feed, event_name="cat")

    it = only(engine)
    assert it.patterns == ("cat", "dog")
    assert engine.declared == [it]  # once
    assert engine.subscriptions.match("cat") == (it,)
    assert engine.subscriptions.match("dog") == (it,)


def test_another_function_of_the_same_name_is_refused(engine: Engine) -> None:
    engine.register(feed, name="work")

    with pytest.raises(ConfigurationError, match="'work' is registered already, for another function"):
        engine.register(wash, name="work")

    assert only(engine).function is feed


@pytest.mark.parametrize(
    "other",
    [
        {"queue": "kitchen"},
        {"retry": RetryPolicy(max_retries=9)},
        {"once": True},
        {"priority": 3},
    ],
    ids=str,
)
def test_other_options_for_the_same_subscription_are_refused(engine: Engine, other: Any) -> None:
    engine.register(feed, event_name="cat")

    with pytest.raises(ConfigurationError, match="with other options"):
        engine.register(feed, event_name="dog", **other)

    assert only(engine).patterns == ("cat",)


@pytest.mark.parametrize("other", [{"batch": 20}, {"batch": 10, "batch_window": 1.0}, {}], ids=str)
def test_another_batch_for_the_same_subscription_is_refused(engine: Engine, other: Any) -> None:
    def insert(events) -> None: ...

    engine.register(insert, event_name="cat", batch=10)

    with pytest.raises(ConfigurationError, match="with other options"):
        engine.register(insert, event_name="dog", **other)


@pytest.mark.parametrize("options", [{}, {"batch": 10}], ids=str)
def test_another_argument_for_the_same_subscription_is_refused(engine: Engine, options: Any) -> None:
    def work(one) -> None: ...

    engine.register(Cat, **options)(work)
    engine.register(Cat, **options)(work)

    with pytest.raises(ConfigurationError, match="would get another argument"):
        engine.register(Dog, **options)(work)

    assert only(engine).patterns == ("cat",)


# What is refused


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("quue", "did you mean 'queue'"),
        ("time_limt", "did you mean 'time_limit'"),
        ("qwertz", "it is no option of the engine's tasks"),
        ("max_retries", "is what retry= is for"),
    ],
)
def test_an_option_that_nobody_grants_is_refused_with_a_guess(engine: Engine, option: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"work: .*{option}.*{said}"):
        engine.register(feed, name="work", **{option: 1})

    assert (list(engine.subscriptions), engine.declared) == ([], [])


def test_once_is_refused_where_nothing_can_be_remembered(engine: Engine) -> None:
    engine.inbox = None

    with pytest.raises(ConfigurationError, match="needs an inbox"):
        engine.register(feed, once=True)
    engine.register(feed)

    assert len(engine.subscriptions) == 1


def test_what_the_engine_refuses_is_not_registered(engine: Engine) -> None:
    engine.refusing = ConfigurationError("the engine has a task of this name")
    with pytest.raises(ConfigurationError, match="of this name"):
        engine.register(feed)
    engine.refusing = None

    engine.register(feed)

    assert len(engine.declared) == 1


def test_a_function_that_cannot_be_called_is_refused_on_its_line(engine: Engine) -> None:
    def asks_for_more(event: Event, session: int) -> None: ...

    with pytest.raises(ConfigurationError, match="'session' cannot be filled"):
        engine.register(asks_for_more)
    with pytest.raises(ConfigurationError, match="batch=1"):
        engine.register(feed, batch=1)


def test_what_is_neither_function_nor_model_is_refused(engine: Engine) -> None:
    class Nameless(BaseModel): ...

    wrong: Any = "cat"
    with pytest.raises(ConfigurationError, match=r"write register\(event_name='cat'\)"):
        engine.register(wrong)
    with pytest.raises(MissingEventNameDuringRegistration):
        engine.register(Nameless)
