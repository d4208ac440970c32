"""What `register` takes on Dramatiq, and what it refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Middleware
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend

from fastapi_events.errors import InvalidSetting
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.options import options_of
from fastapi_events.retry import RetryPolicy
from fastapi_events.typing import Event


class Coloured(Middleware):
    @property
    def actor_options(self) -> set[str]:
        return {"colour"}


@pytest.fixture
def broker() -> StubBroker:
    return StubBroker()


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"priority": "high"}, "priority='high': expected a whole number."),
        (
            {"time_limit": "1m"},
            "time_limit='1m': expected a timedelta, or a number of milliseconds, above 0.",
        ),
        ({"max_age": timedelta(0)}, "max_age=0: expected a timedelta, or a number of milliseconds, above 0."),
        ({"max_retries": -1}, "max_retries=-1: expected a whole number, 0 or more."),
        ({"max_retries": None}, "max_retries=None: expected a whole number, 0 or more."),
        ({"min_backoff": "1s"}, "min_backoff='1s': expected a timedelta"),
        ({"throws": "ValueError"}, "throws='ValueError': expected a class of errors, or a tuple of them."),
        ({"retry_when": True}, "retry_when=True: expected a function."),
        ({"on_failure": print}, "expected an actor, or the name of one."),
        ({"notify_shutdown": "yes"}, "notify_shutdown='yes': expected True or False."),
        ({"pipe_target": {}}, "'pipe_target' is of no use: a subscription has no result; let the function"),
        ({"store_results": True}, "'store_results' is of no use: a subscription has no result"),
        ({"result_ttl": 1}, "'result_ttl' is of no use"),
        ({"queue_name": "kitchen"}, "'queue_name' is what queue= says here."),
        ({"actor_name": "feed"}, "'actor_name' is what name= says here."),
        ({"time_limt": 1}, "unknown option 'time_limt'; did you mean 'time_limit'?"),
        ({"colour": "red"}, "unknown option 'colour'; it is no option of dramatiq.actor with this broker."),
        ({"fastapi_events": 3}, "unknown option 'fastapi_events'"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_a_wrong_option_is_refused_where_it_is_written(
    broker: StubBroker, option: dict[str, Any], says: str
) -> None:
    broker.add_middleware(Results(backend=StubBackend()))
    events = DramatiqHandler(broker)

    with pytest.raises(InvalidSetting) as refused:
        events.register(lambda event: None, name="feed", **option)

    assert str(refused.value).startswith("feed: ")
    assert says in str(refused.value)
    assert not list(events.subscriptions)


def test_what_a_policy_says_as_well_is_refused(broker: StubBroker) -> None:
    events = DramatiqHandler(broker)

    with pytest.raises(InvalidSetting, match="feed: max_retries=7 and retry= both say when it runs"):
        events.register(lambda event: None, name="feed", max_retries=7, retry=RetryPolicy())


def test_options_are_those_of_the_brokers_middleware(broker: StubBroker) -> None:
    broker.add_middleware(Coloured())
    events = DramatiqHandler(broker)

    @events.register(name="feed", colour="red", time_limit=timedelta(seconds=1), priority=3)
    def feed(event: Event) -> None: ...

    actor = broker.get_actor("feed")
    assert (actor.options["colour"], actor.options["time_limit"], actor.priority) == ("red", 1_000, 3)


def test_an_actor_stands_for_its_name(broker: StubBroker) -> None:
    events = DramatiqHandler(broker)

    @dramatiq.actor(broker=broker)
    def tell(*args: Any) -> None: ...

    events.register(lambda event: None, name="feed", on_failure=tell)
    assert broker.get_actor("feed").options["on_failure"] == "tell"


def test_without_a_middleware_its_options_are_unknown() -> None:
    assert set(options_of(StubBroker(middleware=[])).checks) == {"priority"}
