"""Workers of one handler that import different modules: each function gets every event."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.processes import Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

EVENTS = 300

ENGINES = ["dramatiq", "celery"]

REDIS = "redis://localhost:6379/0"

SQL = """
    from pathlib import Path
    from fastapi_events.storage.sqlalchemy import SqlStore
    store = SqlStore(f"sqlite:///{Path(__file__).parent / 'fleet.db'}")
    store.setup()
"""

IN_REDIS = f"""
    from fastapi_events.storage.redis import RedisStore
    store = RedisStore("{REDIS}")
"""

DRAMATIQ = """
    import dramatiq
    from dramatiq.brokers.{kind} import {kind_class} as Broker
    from fastapi_events.handlers.dramatiq import DramatiqHandler
    {store}
    broker = Broker(url="{url}"{confirmed})
    dramatiq.set_broker(broker)
    events = DramatiqHandler(broker, queue="{queue}", flush_deadline=20.0{settings})
"""

CELERY = """
    from celery import Celery
    from fastapi_events.handlers.celery import CeleryHandler
    {store}
    broker = Celery("app", broker="{url}")
    broker.conf.broker_connection_retry_on_startup = True
    events = CeleryHandler(broker, queue="{queue}", flush_deadline=20.0{settings})
"""


def module(
    engine: str, *, url: str = REDIS, store: str = "", settings: str = "", queue: str = "events"
) -> str:
    """The module with the handler."""
    rabbitmq = url.startswith("amqp")
    return (DRAMATIQ if engine == "dramatiq" else CELERY).format(
        url=url, store=store.strip(), settings=settings, queue=queue,
        kind="rabbitmq" if rabbitmq else "redis",
        kind_class="RabbitmqBroker" if rabbitmq else "RedisBroker",
        confirmed=", confirm_delivery=True" if rabbitmq else "",
    )  # fmt: skip


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


WAYS = ["the broker's Redis", "RabbitMQ, catalogue= in SQL", "RabbitMQ, store= in Redis"]


@pytest.fixture(params=WAYS)
def handler(request: pytest.FixtureRequest, engine: str) -> Callable[..., str]:
    """The module with the handler, for each place where a catalogue can be."""
    if request.param == WAYS[0]:
        return lambda: module(engine)
    url, queue = request.getfixturevalue("amqp_url"), f"unlike-{uuid.uuid4()}"
    if request.param == WAYS[1]:
        return lambda: module(engine, url=url, queue=queue, store=SQL, settings=", catalogue=store.catalogue")
    return lambda: module(engine, url=url, queue=queue, store=IN_REDIS, settings=", store=store")


def function(name: str, pattern: str = "cat*", options: str = "") -> str:
    """A module with one function, which counts the events that it has handled."""
    return f"""
    import redis
    from app.events import broker, events

    client = redis.Redis.from_url("{REDIS}")

    @events.register(event_name="{pattern}", name="{name}"{options})
    def {name}(event):
        client.sadd("{name}", event.payload["number"])
    """


def command(engine: str, name: str) -> tuple[str, ...]:
    """What starts a worker that knows one module."""
    if engine == "dramatiq":
        return ("dramatiq", f"app.{name}", "--processes", "1", "--threads", "2")
    return ("celery", "-A", f"app.{name}", "worker", "-n", f"{name}@%h", "-P", "threads", "-c", "2")


def start(project: Project, engine: str, name: str) -> Any:
    """Start a worker that knows one module, and wait until it says that it is ready."""
    says, told = " ready.", ("--loglevel", "info")
    if engine == "dramatiq":
        says, told = "is ready for action", ()
    before = project.logs().count(says)
    worker = project.start(*command(engine, name), *told)
    until(lambda: project.logs().count(says) > before, f"{name}'s start")
    return worker


def publish(project: Project, first: int, count: int = EVENTS, *, name: str = "cat-fed") -> None:
    project.run(
        "from app.events import events; from fastapi_events.dispatcher import dispatch;"
        "from fastapi_events.scope import collect_events\n"
        f"for begin in range({first}, {first + count}, 10):\n"
        "    with collect_events([events], raise_errors=True):\n"
        f"        for number in range(begin, min(begin + 10, {first + count})):\n"
        f'            dispatch("{name}", {{"number": number}})\n'
    )


def fleet_becomes(project: Project, condition: str) -> None:
    """Wait in a process of its own until this is true of `listed` and `alive`, the names of functions."""
    project.run(
        "import time; from app.events import events\n"
        f"deadline = time.monotonic() + {30}\n"
        "while True:\n"
        "    found = events.fleet.snapshot()\n"
        "    listed = {each.name for each in found.listings}\n"
        "    alive = {name for each in found.workers for name in each.subscriptions}\n"
        f"    if {condition}: break\n"
        "    assert time.monotonic() < deadline, found\n"
        "    time.sleep(0.1)\n"
    )


def handled(project: Project, name: str, count: int) -> None:
    until(lambda: project.redis.scard(name) >= count, f"{name}: {count} events\n{project.logs()}")
    assert project.redis.scard(name) == count


def test_two_unlike_workers_handle_every_event_with_each_function(
    project: Project, engine: str, handler: Callable[..., str]
) -> None:
    project.write(events=handler(), mail=function("mail"), bills=function("bill"))
    start(project, engine, "mail")
    start(project, engine, "bills")

    publish(project, 0)

    handled(project, "mail", EVENTS)
    handled(project, "bill", EVENTS)
    assert "[ERROR]" not in project.logs()
    assert "ERROR/" not in project.logs()


def test_events_wait_for_a_function_while_none_of_its_workers_runs(project: Project, engine: str) -> None:
    project.write(events=module(engine), mail=function("mail"), bills=function("bill"))
    start(project, engine, "mail")
    bills = start(project, engine, "bills")
    project.kill_group(bills, signal.SIGKILL)
    project.wait(bills)

    publish(project, 0, 50)
    handled(project, "mail", 50)
    assert project.redis.scard("bill") == 0

    start(project, engine, "bills")
    handled(project, "bill", 50)


def test_a_function_added_later_gets_all_that_is_published_once_its_worker_is_ready(
    project: Project, engine: str
) -> None:
    project.write(events=module(engine), mail=function("mail"), bills=function("bill"))
    start(project, engine, "mail")
    publish(project, 0, 20)
    handled(project, "mail", 20)

    start(project, engine, "bills")
    publish(project, 100, 100)

    handled(project, "mail", 120)
    handled(project, "bill", 100)


def test_a_rolling_deploy_of_three_workers_under_traffic_misses_nothing(
    project: Project, engine: str
) -> None:
    project.write(events=module(engine), work=function("mail"))
    workers = [start(project, engine, "work") for _ in range(3)]
    project.write(
        traffic="""
        import itertools, time
        from app.events import events
        from fastapi_events.dispatcher import dispatch
        from fastapi_events.scope import collect_events
        import redis

        client = redis.Redis.from_url("redis://localhost:6379/0")
        for number in itertools.count():
            if client.get("stop"):
                break
            with collect_events([events], raise_errors=True):
                dispatch("cat-fed", {"number": number})
            client.set("published", number + 1)
            time.sleep(0.01)
        """
    )
    traffic = project.start("app.traffic")
    until(lambda: project.redis.scard("mail") > 10, f"the first events\n{project.logs()}")

    # When each worker makes room for one that has a new function, too
    project.write(work=function("mail") + function("bill"))
    since = 0
    for old in workers:
        start(project, engine, "work")
        since = since or int(project.redis.get("published")) + 1  # one may be under way
        old.send_signal(signal.SIGTERM)
        project.wait(old)
    project.redis.set("stop", "1")
    assert project.wait(traffic) == 0

    # Then the old one has missed nothing, and the new one nothing since its first worker was ready
    count = int(project.redis.get("published"))
    handled(project, "mail", count)
    wanted = {str(number) for number in range(since, count)}
    until(lambda: wanted <= project.redis.smembers("bill"), "the new function's events")


def test_pool_processes_that_were_forked_before_know_of_a_function_as_soon_as_its_worker_is_ready(
    project: Project,
) -> None:
    project.write(events=module("celery"), mail=function("mail"), bills=function("bill"))
    pool = ("-P", "prefork", "-c", "3", "--loglevel", "info")
    project.start(*command("celery", "mail"), *pool)
    until(lambda: project.logs().count(" ready.") == 1, "the first worker")

    start(project, "celery", "bills")
    publish(project, 0, 100)

    handled(project, "mail", 100)
    handled(project, "bill", 100)


def test_a_killed_worker_is_off_the_list_soon_and_its_functions_stay(project: Project, engine: str) -> None:
    project.write(events=module(engine), mail=function("mail"), bills=function("bill"))
    start(project, engine, "mail")
    bills = start(project, engine, "bills")
    fleet_becomes(project, "alive == {'mail', 'bill'}")

    project.kill_group(bills, signal.SIGKILL)
    project.wait(bills)

    fleet_becomes(project, "alive == {'mail'}")
    fleet_becomes(project, "listed == {'mail', 'bill'}")


def test_a_worker_that_is_asked_to_stop_is_off_the_list_at_once(project: Project, engine: str) -> None:
    project.write(events=module(engine), mail=function("mail"))
    mail = start(project, engine, "mail")

    mail.send_signal(signal.SIGTERM)
    project.wait(mail)

    fleet_becomes(project, "found.workers == ()")
    fleet_becomes(project, "listed == {'mail'}")


def test_the_listing_of_a_removed_function_goes_with_its_deploy(project: Project, engine: str) -> None:
    both = function("mail") + function("bill")
    project.write(events=module(engine), work=both)
    old = start(project, engine, "work")
    fleet_becomes(project, "listed == {'mail', 'bill'}")

    project.write(work=function("mail"))
    start(project, engine, "work")
    old.send_signal(signal.SIGTERM)
    project.wait(old)

    fleet_becomes(project, "listed == {'mail'}")


def test_a_module_that_is_no_longer_deployed_is_forgotten_by_command(project: Project, engine: str) -> None:
    project.write(events=module(engine), mail=function("mail"), bills=function("bill"))
    start(project, engine, "mail")
    bills = start(project, engine, "bills")
    bills.send_signal(signal.SIGTERM)
    project.wait(bills)

    forget = ("fastapi_events", "catalogue", "forget", "app.events")
    assert project.wait(project.start(*forget, "app.mail")) == 1
    assert "mail is run by" in project.logs()
    assert project.wait(project.start(*forget, "app.bills")) == 0
    fleet_becomes(project, "listed == {'mail'}")
    publish(project, 0, 20)

    handled(project, "mail", 20)
    fleet_becomes(project, "listed == {'mail'}")


def test_what_nobody_heard_is_replayed_after_the_deploy_that_brings_its_function(
    project: Project, engine: str
) -> None:
    project.write(
        events=module(
            engine, store=SQL, settings=", dead_letters=store.dead_letters, unmatched='keep'"
        ),
        mail=function("mail"),
        dogs=function("walk", "dog*"),
    )  # fmt: skip
    start(project, engine, "mail")
    publish(project, 0, 20, name="dog-fed")
    project.run(
        "import time; from app.events import events\n"
        "while events.dead_letters.count() < 20: time.sleep(0.05)\n"
        "assert {each.event_name for each in events.dead_letters.list()} == {'dog-fed'}\n"
    )
    assert project.logs().count("Nobody listens to event 'dog-fed'") == 1

    start(project, engine, "dogs")
    assert project.wait(project.start("fastapi_events", "dead", "replay", "app.events", "--all")) == 0

    handled(project, "walk", 20)
    project.run("from app.events import events; assert events.dead_letters.count() == 0")


def test_a_worker_without_a_function_says_so_and_fans_out_for_the_others(
    project: Project, engine: str
) -> None:
    project.write(events=module(engine), mail=function("mail"))
    project.start(*command(engine, "events"))  # at the level that the engine has by default
    until(lambda: "has no function of" in project.logs(), "the warning")

    start(project, engine, "mail")
    publish(project, 0, 50)

    handled(project, "mail", 50)


def test_without_a_catalogue_doctor_names_the_danger_and_what_mends_it(
    project: Project, engine: str, amqp_url: str
) -> None:
    project.write(events=module(engine, url=amqp_url, queue=f"unlike-{uuid.uuid4()}"))

    code = project.wait(project.start("fastapi_events", "doctor", "app.events"))

    assert code == 1
    assert "DANGER  catalogue: none: workers that import different modules share events out" in project.logs()
    assert "pass store=SqlStore(…) or store=RedisStore(…), or catalogue= alone." in project.logs()


def test_without_a_catalogue_each_worker_knows_itself_only(
    project: Project, engine: str, amqp_url: str
) -> None:
    queue = f"unlike-{uuid.uuid4()}"
    project.write(
        events=module(engine, url=amqp_url, queue=queue), mail=function("mail"), bills=function("bill")
    )
    mail = start(project, engine, "mail")
    publish(project, 0, 20)
    handled(project, "mail", 20)
    project.kill_group(mail, signal.SIGKILL)
    project.wait(mail)

    start(project, engine, "bills")
    publish(project, 100, 20)

    handled(project, "bill", 20)
    assert project.redis.scard("mail") == 20
    fleet_becomes(project, "not listed and not alive")
