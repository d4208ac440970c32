"""What `register` takes on Celery, and what it refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, Task

from fastapi_events.errors import InvalidSetting
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.typing import Event
from tests.places import celery_on_redis


class Coloured(Task):  # type: ignore[misc]
    colour = "none"


@pytest.fixture
def app() -> Celery:
    return Celery("shop", broker="memory://", set_as_current=False)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"priority": "high"}, "priority='high': expected a whole number from 0 to 9 on this broker."),
        ({"priority": True}, "priority=True: expected a whole number from 0 to 9 on this broker."),
        ({"priority": 99}, "priority=99: expected a whole number from 0 to 9 on this broker."),
        ({"priority": -1}, "priority=-1: expected a whole number from 0 to 9 on this broker."),
        ({"time_limit": "1m"}, "time_limit='1m': expected a timedelta, or a number of seconds, above 0."),
        (
            {"soft_time_limit": -1},
            "soft_time_limit=-1: expected a timedelta, or a number of seconds, above 0.",
        ),
        ({"rate_limit": "ten"}, "rate_limit='ten': expected tasks a second, or a text such as '10/m'"),
        ({"rate_limit": float("inf")}, "rate_limit=inf: expected tasks a second"),
        ({"send_events": "yes"}, "send_events='yes': expected True or False."),
        ({"on_failure": "f"}, "on_failure='f': expected a function."),
        ({"expires": "soon"}, "expires='soon': expected a timedelta, or a number of seconds, above 0."),
        ({"serializer": "pickle"}, "'serializer' is not for our messages, which are JSON"),
        (
            {"acks_late": False},
            "'acks_late' is ours to say: otherwise an event would vanish with its worker.",
        ),
        ({"reject_on_worker_lost": False}, "'reject_on_worker_lost' is ours to say"),
        ({"ignore_result": False}, "'ignore_result' is of no use: a subscription has no result"),
        ({"track_started": True}, "'track_started' is of no use"),
        ({"autoretry_for": (ValueError,)}, "'autoretry_for' would retry beside us; use retry=RetryPolicy()."),
        ({"max_retries": 3}, "'max_retries' would retry beside us"),
        ({"throws": ValueError}, "'throws' is what retry=RetryPolicy(give_up_on=…) says here."),
        ({"countdown": 3}, "'countdown' is said where an event is dispatched"),
        ({"routing_key": "a"}, "'routing_key' is what queue= says here."),
        ({"link": "other"}, "'link' is for tasks with a result"),
        ({"rate_limt": "1/s"}, "unknown option 'rate_limt'; did you mean 'rate_limit'?"),
        ({"apply_async": print}, "unknown option 'apply_async'; it is no option of celery.Task."),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_a_wrong_option_is_refused_where_it_is_written(
    app: Celery, option: dict[str, Any], says: str
) -> None:
    events = CeleryHandler(app)

    with pytest.raises(InvalidSetting) as refused:
        events.register(lambda event: None, name="feed", **option)

    assert str(refused.value).startswith("feed: ")
    assert says in str(refused.value)
    assert not list(events.subscriptions)


@pytest.mark.parametrize(
    ("url", "most"), [("redis://localhost", 9), ("memory://", 9), ("amqp://localhost", 255)]
)
def test_a_priority_is_one_that_the_broker_has(url: str, most: int) -> None:
    events = CeleryHandler(Celery("shop", broker=url, set_as_current=False))

    events.register(lambda event: None, name="first", priority=0)
    events.register(lambda event: None, name="last", priority=most)
    with pytest.raises(InvalidSetting, match=f"beyond: priority={most + 1}: .* from 0 to {most} on "):
        events.register(lambda event: None, name="beyond", priority=most + 1)

    assert [each.name for each in events.subscriptions] == ["first", "last"]


@pytest.mark.parametrize("rate", ["10/m", "100/h", "5", "0.5/s", 3, 0.5])
def test_options_reach_the_task(app: Celery, rate: Any) -> None:
    events = CeleryHandler(app)

    @events.register(name="feed", rate_limit=rate, soft_time_limit=timedelta(minutes=1))
    def feed(event: Event) -> None: ...

    assert (app.tasks["feed"].rate_limit, app.tasks["feed"].soft_time_limit) == (rate, 60)


def test_attributes_of_the_apps_own_task_class_are_options() -> None:
    app = Celery("shop", broker="memory://", set_as_current=False, task_cls=Coloured)
    CeleryHandler(app).register(lambda event: None, name="feed", colour="red")
    assert app.tasks["feed"].colour == "red"


@pytest.mark.valkey
def test_what_has_expired_since_its_dispatch_is_a_dead_letter(valkey_url: str) -> None:
    with celery_on_redis(valkey_url) as place:
        ran: list[Event] = []
        place.handler.register(ran.append, name="late", expires=timedelta(milliseconds=1))
        place.handler.register(ran.append, name="in_time", expires=3_600)

        place.dispatch("hello")

        assert len(ran) == 1
        [dead] = place.dead()
        assert (dead.task, "expired" in dead.report["reason"]) == ("late", True)
