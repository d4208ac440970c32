"""Never run: mypy --strict and pyright refuse each line that ends with `# refused`, and no other."""

from __future__ import annotations

from datetime import timedelta

from celery import Celery
from dramatiq.brokers.stub import StubBroker

from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.handlers.task_queue import TaskQueueOptions
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.storage.redis import RedisStore
from fastapi_events.storage.sqlalchemy import SqlStore
from fastapi_events.testing import DispatchedEvents, InlineWorker
from fastapi_events.typing import Event

broker, app, store = StubBroker(), Celery("shop"), MemoryStore()


def settings_of_queue_handlers() -> None:
    DramatiqHandler(broker, outbx=store.outbox)  # refused
    DramatiqHandler(broker, durability="respone")  # refused
    DramatiqHandler(broker, confirm="handle")  # refused
    DramatiqHandler(broker, queue_type="quorom")  # refused
    DramatiqHandler(broker, outbox=store)  # refused
    DramatiqHandler(broker, dead_letters=store)  # refused
    DramatiqHandler(broker, inbox=3)  # refused
    DramatiqHandler(broker, lanes=store.inbox)  # refused
    DramatiqHandler(broker, store=store.outbox)  # refused
    DramatiqHandler(broker, store=3)  # refused
    DramatiqHandler(broker, flush_deadline="1s")  # refused
    DramatiqHandler(broker, shutdown_deadline=None)  # refused
    DramatiqHandler(broker, routes=["a"])  # refused
    DramatiqHandler(broker, retry=3)  # refused
    DramatiqHandler(broker, unknown_retry=None)  # refused
    DramatiqHandler(broker, queue=5)  # refused
    DramatiqHandler(broker, max_crashes="3")  # refused
    DramatiqHandler(broker, relay="no")  # refused
    DramatiqHandler(broker, silent_after=60)  # refused
    DramatiqHandler("redis://localhost")  # refused
    CeleryHandler(app, outbx=store.outbox)  # refused
    CeleryHandler(app, durability="respone")  # refused
    CeleryHandler(app, confirm="handeld")  # refused
    CeleryHandler(app, dead_letters=store)  # refused
    CeleryHandler(app, flush_deadline="1s")  # refused
    CeleryHandler(app, routes=["a"])  # refused
    CeleryHandler(app, retry=3)  # refused
    CeleryHandler(app, queue=5)  # refused
    CeleryHandler(app, silent_after="60")  # refused


def settings_that_are_right() -> None:
    DramatiqHandler(broker, store=store, lanes=None, flush_deadline=timedelta(seconds=2), queue="shop")
    DramatiqHandler(None, outbox=store.outbox, durability="response", confirm="handled", resend_after=30)
    CeleryHandler(app, routes={"billing.*": "billing"}, silent_after=timedelta(minutes=1), longest_delay=None)
    shared: TaskQueueOptions = {"queue": "shop", "retry": RetryPolicy(max_retries=3)}
    CeleryHandler(app, **shared)


def stores_and_scopes(local: LocalHandler) -> None:
    MemoryStore(max_entrie=5)  # refused
    MemoryStore(clock=5)  # refused
    RedisStore(5)  # refused
    RedisStore("redis://localhost", prefix=5)  # refused
    SqlStore("sqlite:///events.db", synchronous="FUL")  # refused
    SqlStore("sqlite:///events.db", busy_timeout="5s")  # refused
    SqlStore("sqlite:///events.db", max_letter=5)  # refused
    collect_events(local)  # refused
    collect_events([local], flush_when="sucess")  # refused
    collect_events([local], deadline="5s")  # refused
    MemoryStore(max_entries=5, keep=timedelta(days=1))
    collect_events([local], flush_when="always", deadline=timedelta(seconds=5))


async def application(scope: object, receive: object, send: object) -> None: ...


def middleware(local: LocalHandler) -> None:
    EventHandlerASGIMiddleware(application, handler=[local])  # refused
    EventHandlerASGIMiddleware(application, [LocalHandler])  # refused
    EventHandlerASGIMiddleware(application, [local], flush_when="sucess")  # refused
    EventHandlerASGIMiddleware(application, [local], raise_errors="no")  # refused
    EventHandlerASGIMiddleware(application, [local], middleware_id="one")  # refused
    EventHandlerASGIMiddleware(application, [local], middleware_id=1, flush_when="success")


def policies() -> None:
    RetryPolicy(max_retries="3")  # refused
    RetryPolicy(max_retry=3)  # refused
    RetryPolicy(min_backoff="1s")  # refused
    RetryPolicy(give_up_on=3)  # refused
    RetryPolicy(give_up_on=(ValueError, "TypeError"))  # refused
    RetryPolicy(3)  # refused
    RetryPolicy(give_up_on=ValueError, max_backoff=timedelta(minutes=5))


def registration(dramatiq_events: DramatiqHandler, celery_events: CeleryHandler, local: LocalHandler) -> None:
    def feed(event: Event) -> None: ...

    dramatiq_events.register(feed, retry=3)  # refused
    dramatiq_events.register(feed, queue=5)  # refused
    dramatiq_events.register(feed, name=5)  # refused
    dramatiq_events.register(feed, event_name=5)  # refused
    dramatiq_events.register(feed, once="yes")  # refused
    dramatiq_events.register(feed, batch="100")  # refused
    dramatiq_events.register(feed, batch=100, batch_window="1s")  # refused
    dramatiq_events.register(feed, priority=timedelta(seconds=1))  # refused
    dramatiq_events.register(feed, pause_on="ProviderDown")  # refused
    dramatiq_events.register(feed, pause_on=ValueError, pause_for="1m")  # refused
    dramatiq_events.register(feed, priority="high")  # refused
    dramatiq_events.register(feed, time_limit="1m")  # refused
    celery_events.register(event_name="cat*", priority="high")  # refused
    celery_events.register(event_name="cat*", retry=3)  # refused
    local.register(feed, queue="kitchen")  # refused
    local.register(feed, event_name=5)  # refused
    dramatiq_events.register(feed, priority=3, time_limit=timedelta(minutes=1), of_a_middleware="x")
    local.register(feed, event_name="cat*")


def what_tests_ask(recorded: DispatchedEvents, worker: InlineWorker) -> None:
    recorded.assert_dispatched(3)  # refused
    recorded.assert_dispatched("fish", where=3)  # refused
    worker.failing("eat", "TimeoutError")  # refused
    worker.failing("eat", TimeoutError, times="2")  # refused
    worker.crash_after("publsh")  # refused
    worker.advance(weeks=1)  # refused
    worker.run().assert_ran("eat", attempts=1)  # refused
    InlineWorker("app.events")  # refused
