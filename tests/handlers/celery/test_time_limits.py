"""Time limits: the same in every pool, and over both engines."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import celery
import pytest
from celery.exceptions import SoftTimeLimitExceeded

from fastapi_events.event import Event
from fastapi_events.handlers.celery.time_limits import TIME_LIMIT, Limits, Watch
from fastapi_events.retry import RetryPolicy
from tests.places import Dramatiq, OnCelery, QueuePlace, celery_on_redis

SHORT = timedelta(seconds=0.3)
NEVER = RetryPolicy(max_retries=0)
ONCE_MORE = RetryPolicy(max_retries=1, min_backoff=0.01, max_backoff=0.02)


@pytest.fixture
def place(valkey_url: str) -> Iterator[OnCelery]:
    with celery_on_redis(valkey_url) as place:
        yield place


@pytest.fixture
def either(queue_place: QueuePlace) -> QueuePlace:
    """Each engine, with what enforces its time limits."""
    if isinstance(queue_place, Dramatiq):
        queue_place.broker.emit_after("process_boot")  # which starts it in a worker process of Dramatiq's
    return queue_place


def linger() -> None:
    """Run Python code until something ends it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.valkey
def test_a_function_that_takes_too_long_has_failed_on_either_engine(either: QueuePlace) -> None:
    interrupted: list[str] = []

    @either.handler.register(event_name="hello", name="sync", time_limit=SHORT, retry=ONCE_MORE)
    def sync(event: Event) -> None:
        try:
            linger()
        except BaseException as error:
            interrupted.append(type(error).__name__)
            raise

    either.dispatch("hello")

    assert len(interrupted) == 2  # with each engine's own error
    [reason] = either.reasons()
    assert "TimeLimitExceeded" in reason


@pytest.mark.valkey
def test_a_coroutine_that_takes_too_long_is_cancelled_on_either_engine(either: QueuePlace) -> None:
    cancelled = threading.Event()

    @either.handler.register(event_name="hello", time_limit=SHORT, retry=NEVER)
    async def work(event: Event) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    either.dispatch("hello")

    assert cancelled.is_set()
    [reason] = either.reasons()
    assert "TimeLimitExceeded" in reason


@pytest.mark.valkey
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_soft_limit_interrupts_in_a_thread(place: OnCelery, asynchronous: bool) -> None:
    if asynchronous:

        async def work(event: Event) -> None:
            await asyncio.sleep(60)
    else:

        def work(event: Event) -> None:
            linger()

    place.handler.register(event_name="hello", soft_time_limit=SHORT, retry=NEVER)(work)

    place.dispatch("hello")

    [reason] = place.reasons()
    assert reason.startswith("SoftTimeLimitExceeded")


@pytest.mark.valkey
def test_a_function_may_clean_up_at_its_soft_limit(place: OnCelery) -> None:
    tidied: list[str] = []

    @place.handler.register(event_name="hello", soft_time_limit=SHORT, time_limit=timedelta(seconds=60))
    def work(event: Event) -> None:
        try:
            linger()
        except SoftTimeLimitExceeded:
            tidied.append(event.name)

    place.dispatch("hello")

    assert tidied == ["hello"]
    assert place.dead() == []


def test_what_ends_in_time_is_left_alone_and_so_is_what_its_thread_does_next() -> None:
    limits, task = Limits(), a_task(soft_time_limit=0.05)

    with limits.of(task):
        pass
    ended = time.monotonic()
    while time.monotonic() < ended + 0.2:  # past the limit: an interruption would be raised here
        pass


@pytest.mark.parametrize("swallows", [False, True])
def test_after_the_end_no_thread_has_anything_left_to_raise(swallows: bool) -> None:
    """Else Pythons before 3.13 look for it at each call, and under a tracer no call returns any more."""
    limits, task = Limits(), a_task(soft_time_limit=0.05 if swallows else 60)
    returned = threading.Event()

    def traced() -> None:
        before = sys.gettrace()
        sys.settrace(lambda *_: None)
        try:
            with limits.of(task):
                if swallows:
                    with pytest.raises(SoftTimeLimitExceeded):
                        linger()
            _nothing()
            returned.set()
        finally:
            sys.settrace(before)

    threading.Thread(target=traced, daemon=True).start()

    assert returned.wait(30)


def test_an_interruption_that_comes_too_late_is_taken_back() -> None:
    watch = Watch(threading.get_ident())

    watch.end()
    watch.interrupt()
    for _ in range(1000):  # it would be raised here
        _nothing()


def test_a_limit_is_that_of_the_message_of_the_task_or_of_the_app() -> None:
    limits, task = Limits(), a_task()
    task.app.conf.task_time_limit = 0.05
    with pytest.raises(SoftTimeLimitExceeded), limits.of(task):
        linger()

    task.app.conf.task_time_limit = 60
    task.request.timelimit = [None, 0.05]
    with pytest.raises(SoftTimeLimitExceeded), limits.of(task):
        linger()


def test_the_limit_of_the_app_is_the_one_with_which_its_worker_has_started() -> None:
    class Worker:
        pool_cls = None
        app: Any = None

    limits, task, worker = Limits(), a_task(), Worker()
    worker.app = task.app
    task.app.conf.task_soft_time_limit = 0.05
    limits.start(worker)
    task.app.conf.task_soft_time_limit = None

    with pytest.raises(SoftTimeLimitExceeded), limits.of(task):
        linger()


def test_the_limit_of_a_task_of_ours_holds_although_each_message_says_when_celery_kills() -> None:
    limits, task = Limits(), a_task(time_limit=60)
    setattr(task, TIME_LIMIT, 0.05)

    task.request.timelimit = [60, None]
    with pytest.raises(SoftTimeLimitExceeded), limits.of(task):
        linger()

    setattr(task, TIME_LIMIT, 60)
    task.request.timelimit = [0.05, None]  # what one message was given wins
    with pytest.raises(SoftTimeLimitExceeded), limits.of(task):
        linger()


def test_green_threads_are_not_interrupted() -> None:
    class Green:
        is_green = True

    limits, task = Limits(), a_task(soft_time_limit=0.01)

    class Worker:
        pool_cls = Green
        app = task.app

    worker = Worker()
    limits.start(worker)

    with limits.of(task):
        started = time.monotonic()
        while time.monotonic() < started + 0.1:
            pass


def test_a_number_keeps_the_unit_of_the_engine(place: OnCelery) -> None:
    for name, limit in (("number", 90), ("duration", timedelta(seconds=90))):
        place.handler.register(lambda event: None, name=name, soft_time_limit=limit)
        assert place.app.tasks[name].soft_time_limit == 90


def test_celery_kills_only_what_could_not_be_interrupted(place: OnCelery) -> None:
    place.handler.register(lambda event: None, name="work", time_limit=timedelta(minutes=1))

    task = place.app.tasks["work"]

    assert (task.time_limit, task.acks_on_timeout) == (65, False)


def a_task(**options: Any) -> Any:
    app = celery.Celery("test", set_as_current=False)
    return app.task(_nothing, name="work", lazy=False, shared=False, **options)


def _nothing() -> None: ...
